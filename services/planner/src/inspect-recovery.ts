/**
 * What a recovery is planned from: the restore point says where the data of its disks is, and the host says whether a VM of
 * them could be made there. The repository is asked first, because the host has to know how much will be written.
 */
import type { HostId, RecoveryInspection } from '@backhaul/contracts';
import type { HypervisorHost } from '@backhaul/hypervisor';
import { ok, type Result, refuse } from '@backhaul/kernel';
import { bytesIn, type TriggeredRecovery } from '@backhaul/planning';
import type { Repository } from '@backhaul/repository';
import { unknownHost } from './inspect-vm.ts';
import { type OnFault, type Patience, patiently } from './patience.ts';
import { measureRestorePoint } from './restore-point.ts';

export interface Places {
  repository(): Promise<Pick<Repository, 'location' | 'repositoryId' | 'readManifest' | 'readSegments'>>;
  hostNamed(hostId: HostId): Promise<Pick<HypervisorHost, 'inspectTarget'> | undefined>;
}

export async function inspectRecovery(
  { repository, hostNamed }: Places,
  triggered: TriggeredRecovery,
  signal: AbortSignal,
  onFault: OnFault,
  patience?: Patience,
): Promise<Result<RecoveryInspection>> {
  const { recoveryId, backupId, hostId, vmId, replace, machine } = triggered;
  const wayOut = 'Mend what is named, then ask for the recovery again under a new request id.';
  const measured = await patiently(
    {
      doing: `Reading the restore point of backup ${backupId}`,
      ask: async () => await measureRestorePoint(await repository(), triggered, signal),
      otherwise: 'RestorePointUnreadable',
      wayOut,
    },
    signal,
    onFault,
    patience,
  );
  if (!measured.ok) return measured;
  const disks = measured.value;

  const target = await patiently(
    {
      doing: `Asking host ${hostId} about room for VM ${vmId}`,
      async ask() {
        const host = await hostNamed(hostId);
        if (host === undefined) return refuse(unknownHost(hostId));
        return await host.inspectTarget({
          targetId: recoveryId,
          vmId,
          disks: disks.map(({ diskId, sizeBytes, data }) => ({
            diskId,
            sizeBytes,
            bytesToWrite: bytesIn(data),
          })),
          replace,
          machine,
        });
      },
      otherwise: 'InspectionFailed',
      wayOut,
    },
    signal,
    onFault,
    patience,
  );
  if (!target.ok) return target;
  const { modes, instant, freeBytes } = target.value;
  return ok({ hostId, vmId, disks, modes, instant, freeBytes });
}
