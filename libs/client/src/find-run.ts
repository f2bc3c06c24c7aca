/** What an id names, a backup or a recovery: nobody who has an id before him should have to say which. */
import type { consoleApi } from '@backhaul/contracts';
import { ProblemFault } from './http.ts';

export type Run =
  | { readonly purpose: 'backup'; readonly backup: consoleApi.BackupView }
  | { readonly purpose: 'recovery'; readonly recovery: consoleApi.RecoveryView };

export interface RunFinders {
  backup(id: string): Promise<consoleApi.BackupView>;
  recovery(id: string): Promise<consoleApi.RecoveryView>;
}

/** Throws a ProblemFault where the id names nothing, or more than one run. */
export async function findRun(id: string, finders: RunFinders): Promise<Run> {
  const [ofBackup, ofRecovery] = await Promise.allSettled([finders.backup(id), finders.recovery(id)]);
  if (statusOf(ofBackup) === 400 && statusOf(ofRecovery) === 400) {
    throw problem(400, 'BadRunId', {
      title: 'The request cannot be understood',
      detail: `${id.slice(0, 80)} is no id of a backup or a recovery.`,
      wayOut: 'Give a UUID, or the beginning of one.',
    });
  }
  const backup = foundIn(ofBackup);
  const recovery = foundIn(ofRecovery);
  if (backup !== undefined && recovery !== undefined) {
    throw problem(409, 'AmbiguousRunId', {
      title: 'More than one run is meant',
      detail: `${id} is the beginning of backup ${backup.backupId} and of recovery ${recovery.recoveryId}.`,
      wayOut: 'Give more of the id.',
    });
  }
  if (backup !== undefined) return { purpose: 'backup', backup };
  if (recovery !== undefined) return { purpose: 'recovery', recovery };
  throw problem(404, 'NotFound', {
    title: 'There is no such thing',
    detail: `There is no backup and no recovery ${id}.`,
    wayOut: 'GET /api/v1/backups and /api/v1/recoveries list those there are.',
  });
}

const statusOf = (asked: PromiseSettledResult<unknown>): number | undefined =>
  asked.status === 'rejected' && asked.reason instanceof ProblemFault
    ? asked.reason.problem.status
    : undefined;

function foundIn<View>(asked: PromiseSettledResult<View>): View | undefined {
  if (asked.status === 'fulfilled') return asked.value;
  if (statusOf(asked) === 404) return undefined;
  throw asked.reason;
}

const problem = (
  status: number,
  code: string,
  said: { title: string; detail: string; wayOut: string },
): ProblemFault => new ProblemFault({ type: `urn:backhaul:problem:${code}`, status, code, ...said });
