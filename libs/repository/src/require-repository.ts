/**
 * Whether a repository that was opened is still to be found. A folder that is not mounted looks like one that has lost everything: whoever
 * misses something asks here before calling it damage.
 */
import { TimedFolder } from './backend/timed-folder.ts';
import { Presence } from './presence.ts';
import type { Repository } from './repository.ts';

/** Throws a Fault with the code `RepositoryAway`, which may mend. */
export async function requireRepository({
  location,
  repositoryId,
}: Pick<Repository, 'location' | 'repositoryId'>): Promise<void> {
  await new Presence(new TimedFolder(location), repositoryId).check();
}
