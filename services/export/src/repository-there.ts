/**
 * The repository to recover from, which others make. Never made here: a folder that is not mounted would pass for a repository that has
 * lost everything, and recoveries would be told that their restore points are damaged.
 */
import { eventually, Fault } from '@backhaul/kernel';
import { type OpenRepositoryOptions, openRepository, type Repository } from '@backhaul/repository';

const RETRY_MILLISECONDS = 250;

/** Waited for, at most this long. Then a Fault that names the folder and what is wrong with it. */
export async function repositoryThere(
  options: OpenRepositoryOptions,
  milliseconds: number,
): Promise<Repository> {
  const { location } = options;
  let reason: unknown;
  const open = () =>
    openRepository({ ...options, create: false }).catch((error: unknown) => {
      reason = error;
      return undefined;
    });
  return await eventually(`A repository in ${location}`, milliseconds, open, RETRY_MILLISECONDS).catch(() => {
    const wayOut = 'mount it, start ingest, which makes one, or correct BACKHAUL_REPOSITORY';
    throw new Fault(`There is nothing to recover from in ${location}: ${wayOut}`, {
      cause: reason,
      permanent: true,
      code: 'RepositoryAway',
    });
  });
}
