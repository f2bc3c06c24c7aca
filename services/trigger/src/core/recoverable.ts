/**
 * Whether a backup can be recovered, from what the log has of it: the backup's own stream, and what the services that carried it out
 * said at its end. What cannot be recovered is refused with what became of it.
 */
import type { Event, RestorePoint } from '@backhaul/contracts';
import { ok, type Result, refuse } from '@backhaul/kernel';
import type { Run } from './run.ts';

/** Which VM was backed up, and what there is of it. */
export interface Recoverable {
  readonly source: { readonly hostId: string; readonly vmId: string };
  readonly restorePoint: RestorePoint;
}

/** `ofOthers`: of the backup's streams `transfer-<id>` and `plan-<id>`. */
export function recoverable(
  backupId: string,
  ofBackup: Run,
  ofOthers: readonly Event[],
): Result<Recoverable> {
  for (const { type, data } of ofOthers) {
    if (type === 'BackupCompleted') {
      const { hostId, vmId, restorePoint } = data;
      return ok({ source: { hostId, vmId }, restorePoint });
    }
    if (type === 'BackupFailed') return none(`Backup ${backupId} failed: ${data.refusal.message}`);
    if (type === 'PlanRefused') return none(`Backup ${backupId} never ran: ${data.refusal.message}`);
  }
  switch (ofBackup.state) {
    case 'unknown':
      return none(`There is no backup ${backupId}.`);
    case 'queued':
      return none(`Backup ${backupId} still waits for its turn.`, WHEN_COMPLETED);
    case 'triggered':
      return none(`Backup ${backupId} still runs.`, WHEN_COMPLETED);
    case 'cancelling':
      return none(`Backup ${backupId} is being cancelled: ${ofBackup.reason}.`);
    case 'cancelled':
      return none(`Backup ${backupId} was cancelled before it started: ${ofBackup.reason}.`);
    case 'refused':
      return none(`Backup ${backupId} never started: ${ofBackup.refusal.message}`);
  }
}

const WHEN_COMPLETED =
  'Ask again under another request id when it has completed, or choose another that `backhaul backups` lists as completed.';

const none = (
  message: string,
  wayOut = 'Choose one that `backhaul backups` lists as completed.',
): Result<never> => refuse({ code: 'UnknownRestorePoint', message, wayOut });
