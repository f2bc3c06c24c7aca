/**
 * Owned by ingest. Stream `repository-deployment`: which repository the backups of this deployment are in. A folder that is not mounted
 * looks like one that was never used: only what is noted here tells the two apart.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { Instant } from './vocabulary.ts';

/** From now on backups go into this repository, and into no other until another is adopted. */
export const RepositoryAdopted = defineEvent(
  'repository',
  'RepositoryAdopted',
  z.object({
    /** As in its own file (docs/format.md): copies have the same. */
    repositoryId: z.uuid(),
    /** Where it was found, or made. */
    location: z.string(),
    /** It was made for this, and has nothing yet. */
    made: z.boolean(),
    /** The one in whose place it comes, by an operator's order; null for the first. */
    replaces: z.uuid().nullable(),
    adoptedAt: Instant,
  }),
);
