/**
 * Which repository this deployment backs up to, decided when ingest starts. Promises: one is made only where none was ever used, or where
 * an operator names the one that it comes in place of; and no other than the one that was noted is used. A folder that is not mounted
 * looks exactly as before the first start: the log tells the two apart (docs/adr/0022). Pure.
 */
import type { Event, EventData } from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';

/** What an operator names in place of an id where an earlier release has noted none. */
export const UNKNOWN = 'unknown';

export interface Found {
  readonly location: string;
  /** Of the repository that is there; undefined: none is. */
  readonly repositoryId: string | undefined;
  /** Of the log. Asked only where neither it nor the folder has a repository. */
  readonly hasBackups: boolean;
}

export type Decision =
  | { readonly use: string }
  | { readonly adopt: string; readonly replaces: string | null }
  | { readonly make: true; readonly replaces: string | null };

export function decide(
  adopted: EventData<'RepositoryAdopted'> | undefined,
  found: Found,
  replaces: string | undefined,
): Result<Decision, Refusal> {
  if (adopted !== undefined && found.repositoryId === adopted.repositoryId)
    return ok({ use: adopted.repositoryId });
  // An order names what it replaces, so that it is carried out once: left in place, it means nothing any more.
  const isOrdered = replaces === (adopted?.repositoryId ?? UNKNOWN);
  const isFirst = adopted === undefined && (found.repositoryId !== undefined || !found.hasBackups);
  if (!isFirst && !isOrdered) return refuse(refusalOf(adopted, found));
  const place = { replaces: adopted?.repositoryId ?? null };
  return ok(
    found.repositoryId === undefined ? { make: true, ...place } : { adopt: found.repositoryId, ...place },
  );
}

function refusalOf(adopted: EventData<'RepositoryAdopted'> | undefined, found: Found): Refusal {
  const there =
    found.repositoryId === undefined ? 'there is no repository' : `repository ${found.repositoryId} is`;
  const ours =
    adopted === undefined
      ? 'in one that an earlier release has not noted'
      : `in repository ${adopted.repositoryId}, last seen in ${adopted.location} at ${adopted.adoptedAt}`;
  const order = `BACKHAUL_REPOSITORY_REPLACES=${adopted?.repositoryId ?? UNKNOWN}`;
  return {
    code: 'RepositoryAway',
    message: `In ${found.location} ${there}, and the backups of this deployment are ${ours}.`,
    wayOut:
      `Mount it there, or correct BACKHAUL_REPOSITORY: this goes on by itself. To go on in ` +
      `${found.repositoryId === undefined ? 'a new one' : 'this one'} on purpose, start ingest with ${order}: the next backup of each VM is then a full.`,
  };
}

export const adoptedEvent = (
  decision: { readonly made: boolean; readonly replaces: string | null },
  repository: { readonly repositoryId: string; readonly location: string },
  adoptedAt: string,
): Event<'RepositoryAdopted'> => ({
  type: 'RepositoryAdopted',
  data: {
    repositoryId: repository.repositoryId,
    location: repository.location,
    made: decision.made,
    replaces: decision.replaces,
    adoptedAt,
  },
});
