/** Owned by trigger. Stream `vm-<hostId>.<vmId>`: whose turn it is at a VM. Backups of it and recoveries to it take turns. */
import { z } from 'zod';
import { BackupAsked } from './backup-events.ts';
import { defineEvent, unchanged } from './define-event.ts';
import { withNewerPolicyFields, withPriority } from './policy.ts';
import { RecoveryAsked } from './recovery-events.ts';
import { namedByBackup, run } from './run-naming.ts';
import { RestorePoint, RunId, VmId } from './vocabulary.ts';

/** `runId`: the backup or the recovery. */
const turn = { ...run, vmId: VmId };

/** The VM's turn was given to this run. */
export const VmClaimed = defineEvent('vm', 'VmClaimed', z.object(turn), [namedByBackup]);

/** A backup or a recovery waits for its turn behind another run, with all it needs to be triggered later. Version 3: `instant`; 4: `priority`. */
export const VmAwaited = defineEvent(
  'vm',
  'VmAwaited',
  z.object({
    ...turn,
    behind: RunId,
    asked: z.discriminatedUnion('purpose', [
      BackupAsked.extend({ purpose: z.literal('backup') }),
      RecoveryAsked.extend({ purpose: z.literal('recovery') }),
    ]),
  }),
  [
    (stored) => {
      const { behind, ...asked } = withNewerPolicyFields(stored) as Record<string, unknown>;
      const { hostId, vmId, backupId } = asked;
      return { hostId, vmId, runId: backupId, behind, asked: { purpose: 'backup', ...asked } };
    },
    unchanged,
    (stored) => {
      const data = stored as { asked: unknown };
      return { ...data, asked: withPriority(data.asked) };
    },
  ],
);

/**
 * The backup that has the turn has an outcome. The turn lasts until its run has also given everything back. The two come
 * by different ways and in any order; whichever is second ends the turn. Version 3: `cancelled`.
 */
export const VmBackupEnded = defineEvent(
  'vm',
  'VmBackupEnded',
  z.object({
    ...turn,
    outcome: z.enum(['completed', 'failed', 'cancelled']),
    restorePoint: RestorePoint.nullable(),
  }),
  [namedByBackup, unchanged],
);

/** The same of a recovery. Version 2: `cancelled`. */
export const VmRecoveryEnded = defineEvent(
  'vm',
  'VmRecoveryEnded',
  z.object({ ...turn, outcome: z.enum(['completed', 'failed', 'cancelled']) }),
  [unchanged],
);

/** The run that has the turn has given everything back. The turn lasts until its outcome is known, too. */
export const VmRunClosed = defineEvent('vm', 'VmRunClosed', z.object(turn), [namedByBackup]);

/** The VM's turn ended. A completed backup leaves the restore point that the next one builds on. */
export const VmReleased = defineEvent(
  'vm',
  'VmReleased',
  z.object({
    ...turn,
    outcome: z.enum(['completed', 'failed', 'refused', 'cancelled']),
    restorePoint: RestorePoint.nullable(),
  }),
  [namedByBackup],
);
