/**
 * Owned by export. Stream `mount-<recoveryId>`: a restore point that is served, read-only, for a VM that starts from it (docs/adr/0014).
 * Open until MountClosed: served again at the same place after whatever happened to who served it.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { BackupId, Digest, DiskId, HostId, Mounts, RecoveryId, VmId } from './vocabulary.ts';

const recovery = { recoveryId: RecoveryId, hostId: HostId, vmId: VmId };

/** Obligation opened. */
export const MountRequested = defineEvent(
  'mount',
  'MountRequested',
  z.object({
    ...recovery,
    backupId: BackupId,
    manifestDigest: Digest,
    disks: z.array(DiskId).min(1),
  }),
);

/** Every disk can be read at its URI. */
export const MountOpened = defineEvent('mount', 'MountOpened', z.object({ ...recovery, mounts: Mounts }));

/** A reader asked for what is damaged or missing in the repository, and got an I/O error. Told once a mount. */
export const MountReadFailed = defineEvent(
  'mount',
  'MountReadFailed',
  z.object({ ...recovery, diskId: DiskId, reason: z.string() }),
);

/** Nobody needs it any more. */
export const MountEnding = defineEvent('mount', 'MountEnding', z.object(recovery));

/** Confirmed: nobody serves it, and nobody will. */
export const MountClosed = defineEvent('mount', 'MountClosed', z.object(recovery));
