/**
 * What a repository that cannot do its work says, told apart from whatever else fails while a chunk is on its way: a port of a proxy that is
 * blamed for a full disk would be given up, and the next one after it. All of these may mend: whoever meets one waits and tries again.
 */
import { describeError, Fault, hasCode, isPermanent } from '@backhaul/kernel';

/** Not there: not mounted, or another one is. */
export const AWAY = 'RepositoryAway';
/** There, and without room. */
export const FULL = 'RepositoryFull';
/** There, and its file system answers with an error. */
export const FAILING = 'RepositoryFailing';

/** What a repository is unable to do for the moment; false for damage, which no waiting mends. */
export const isRepositoryFault = (error: unknown): boolean =>
  !isPermanent(error) && hasCode(error, AWAY, FULL, FAILING);

/** Which of them it is; undefined where it is none. */
export const repositoryFaultCode = (error: unknown): string | undefined =>
  isRepositoryFault(error) ? [FULL, AWAY, FAILING].find((code) => hasCode(error, code)) : undefined;

export function repositoryAway(location: string, repositoryId: string, what: string, cause?: unknown): Fault {
  // A file that is no repository's is permanent for who reads it; here it is what may be there for the moment.
  const why = cause === undefined ? '' : ` (${describeError(cause)})`;
  return new Fault(`The repository ${location} (${repositoryId}) is out of reach: ${what}${why}`, {
    code: AWAY,
  });
}

/** Out of space, input and output errors: the same call may succeed later. What is permanent stays so, with its own code. */
export function storageFault(what: string, cause: unknown): Fault {
  const own = cause instanceof Fault ? cause : undefined;
  const code = own?.code ?? (isOutOfRoom(cause) ? FULL : FAILING);
  return new Fault(`${what} failed`, { cause, permanent: own?.permanent ?? false, code });
}

const isOutOfRoom = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
