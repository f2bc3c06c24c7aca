/** A triggered recovery for tests: of the restore point with this manifest, to a VM web-2 on host lab. */
import { Policy } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import type { TriggeredRecovery } from '@backhaul/planning';
import type { StoredManifest } from '@backhaul/repository';

export const recoveryOf = (
  { manifest, digest }: StoredManifest,
  fields: Partial<TriggeredRecovery> = {},
): TriggeredRecovery => ({
  recoveryId: derivedId('recovery', 'r2'),
  backupId: manifest.backupId,
  source: { hostId: manifest.hostId, vmId: manifest.vmId },
  restorePoint: {
    backupId: manifest.backupId,
    manifestDigest: digest,
    takenAt: manifest.takenAt,
    disks: manifest.disks.map(({ diskId, sizeBytes }) => ({
      diskId,
      sizeBytes,
      identity: { format: 'raw', inode: diskId, sizeBytes },
      checkpoint: null,
    })),
  },
  hostId: 'lab',
  vmId: 'web-2',
  disks: manifest.disks.map(({ diskId }) => diskId),
  mode: 'auto',
  policy: Policy.parse({}),
  priority: 'high',
  replace: false,
  start: false,
  verify: false,
  machine: { memoryMiB: 512, cpus: 1 },
  origin: { via: 'nats', requestId: 'r2' },
  requestedAt: '2026-01-02T00:00:00.000Z',
  ...fields,
});
