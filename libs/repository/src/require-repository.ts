/**
 * Whether a repository that was opened is still to be found. A folder that is not mounted looks like one that has lost everything: whoever
 * misses something asks here before calling it damage.
 */
import { Fault } from '@backhaul/kernel';
import { LocalFolder } from './backend/local-folder.ts';
import { REPOSITORY_FILE } from './format/bounds.ts';
import { decodeRepositoryFile } from './format/manifest.ts';
import type { Repository } from './repository.ts';

const REPOSITORY_FILE_BYTES_MAX = 64 * 1024;

/** Throws a Fault with the code `RepositoryAway`, which may mend. */
export async function requireRepository({
  location,
  repositoryId,
}: Pick<Repository, 'location' | 'repositoryId'>): Promise<void> {
  const bytes = await new LocalFolder(location).get(REPOSITORY_FILE, REPOSITORY_FILE_BYTES_MAX);
  if (bytes !== undefined && decodeRepositoryFile(bytes).repositoryId === repositoryId) return;
  const found = bytes === undefined ? `there is no ${REPOSITORY_FILE}` : 'another repository is there';
  throw new Fault(`The repository ${location} is out of reach: ${found}`, { code: 'RepositoryAway' });
}
