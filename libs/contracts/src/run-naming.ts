/** How events name the run that they are about, and how those stored when there were only backups are lifted to it. */
import { HostId, RunId } from './vocabulary.ts';

/** `runId` is the id of the backup or of the recovery that the run serves. */
export const run = { hostId: HostId, runId: RunId };

/** When there were only backups, the run was named by `backupId`. */
export const namedByBackup = (stored: unknown): unknown => {
  const { backupId, ...rest } = stored as { backupId?: string };
  return { ...rest, runId: backupId };
};

/** When there were only backups, and nothing said so. */
export const ofBackup = (stored: unknown): unknown => ({
  ...(namedByBackup(stored) as object),
  purpose: 'backup',
});
