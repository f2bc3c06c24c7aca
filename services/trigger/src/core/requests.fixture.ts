/** Requests and histories for tests, said in few words: backups of VM web-1, and recoveries to it. */
import {
  BackupRequested,
  type Event,
  Policy,
  RecoveryRequested,
  type RestorePoint,
} from '@backhaul/contracts';
import { type Decider, fold, ok, type Result } from '@backhaul/kernel';
import type { Recoverable } from './recoverable.ts';
import { type AskedFor, runIdFor } from './run.ts';
import type { RequestRun } from './wish.ts';

export const at = '2026-01-01T00:00:00.000Z';

export const backupIdOf = (requestId: string): string => runIdFor('backup', requestId);
export const recoveryIdOf = (requestId: string): string => runIdFor('recovery', requestId);

export const restorePointOf = (requestId: string, disks: readonly string[] = []): RestorePoint => ({
  backupId: backupIdOf(requestId),
  manifestDigest: 'a'.repeat(64),
  takenAt: at,
  disks: disks.map((diskId) => ({
    diskId,
    sizeBytes: 4096,
    identity: { format: 'qcow2', inode: '1:2', sizeBytes: 4096 },
    checkpoint: null,
  })),
});

/** What the recoveries here are of: a backup of another VM, with two disks. */
export const old: Recoverable = {
  source: { hostId: 'lab', vmId: 'old-1' },
  restorePoint: restorePointOf('old', ['vdb', 'vda']),
};
const backup = old.restorePoint.backupId;

export const asked = (requestId: string, policy: Partial<Policy> = {}): AskedFor<'backup'> => ({
  purpose: 'backup',
  backupId: backupIdOf(requestId),
  hostId: 'lab',
  vmId: 'web-1',
  kind: 'auto',
  mode: 'auto',
  policy: Policy.parse(policy),
  priority: 'normal',
  origin: { via: 'nats', requestId },
  requestedAt: at,
});

export const recoveryAsked = (requestId: string, policy: Partial<Policy> = {}): AskedFor<'recovery'> => ({
  purpose: 'recovery',
  recoveryId: recoveryIdOf(requestId),
  backupId: backup,
  ...old,
  hostId: 'lab',
  vmId: 'web-1',
  disks: ['vdb', 'vda'],
  mode: 'auto',
  policy: Policy.parse(policy),
  priority: 'high',
  replace: false,
  start: false,
  verify: false,
  machine: { memoryMiB: 1024, cpus: 1 },
  origin: { via: 'nats', requestId },
  requestedAt: at,
});

type OfBackup = RequestRun & { readonly purpose: 'backup' };
type OfRecovery = RequestRun & { readonly purpose: 'recovery' };
const circumstances = (requestId: string) => ({
  origin: { via: 'nats' as const, requestId },
  requestedAt: at,
  hostKnown: true,
  policy: Policy.parse({}),
});

export const requestFor = (requestId: string, fields: Partial<OfBackup> = {}): OfBackup => ({
  purpose: 'backup',
  request: BackupRequested.parse({ requestId, host: 'lab', vm: 'web-1' }),
  ...circumstances(requestId),
  ...fields,
});

/** `wanted`: fields of the request itself. */
export const recoveryFor = (
  requestId: string,
  wanted: object = {},
  fields: Partial<OfRecovery> = {},
): OfRecovery => ({
  purpose: 'recovery',
  request: RecoveryRequested.parse({ requestId, backup, host: 'lab', vm: 'web-1', ...wanted }),
  recoverable: ok(old),
  ...circumstances(requestId),
  ...fields,
});

/** given these events, when this command, then this decision. */
export const given =
  <State, Command, E extends Event>(decider: Decider<State, Command, E>) =>
  (...history: E[]) => ({
    when: (command: Command): Result<E[]> =>
      decider.decide(fold(decider.evolve, decider.initialState, history), command),
  });
