/** Recoveries for tests, said in few words: `toWrite('vda', 8 * TiB, 3 * TiB)` is a disk of 8 TiB of which 3 TiB are not zero. */
import { Policy, type RecoveryAsked, type RecoveryInspection } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import { even, inspectionOf } from './inspections.fixture.ts';

export type DiskOfRestorePoint = RecoveryInspection['disks'][number];

export const toWrite = (diskId: string, sizeBytes: number, bytes = sizeBytes): DiskOfRestorePoint => ({
  diskId,
  sizeBytes,
  data: even(sizeBytes, bytes),
});

export function recoveryInspectionOf(
  disks: DiskOfRestorePoint[],
  {
    freeBytes = null,
    ...missing
  }: Partial<Record<'proxy-vm' | 'direct-to-host', string>> & {
    freeBytes?: number | null;
  } = {},
): RecoveryInspection {
  return { hostId: 'lab', vmId: 'web-2', disks, modes: inspectionOf([], missing).modes, freeBytes };
}

export function recoveryAsked(
  asks: Partial<RecoveryAsked> = {},
  policy: Partial<Policy> = {},
): RecoveryAsked {
  const backupId = derivedId('backup', 'r1');
  return {
    recoveryId: derivedId('recovery', 'r2'),
    backupId,
    source: { hostId: 'lab', vmId: 'web-1' },
    restorePoint: { backupId, manifestDigest: 'ab'.repeat(32), takenAt: '2026-01-01T00:00:00Z', disks: [] },
    hostId: 'lab',
    vmId: 'web-2',
    disks: ['vda'],
    mode: 'auto',
    policy: Policy.parse(policy),
    priority: 'high',
    replace: false,
    start: true,
    verify: false,
    machine: { memoryMiB: 1024, cpus: 1 },
    origin: { via: 'nats', requestId: 'r2' },
    requestedAt: '2026-01-02T00:00:00Z',
    ...asks,
  };
}
