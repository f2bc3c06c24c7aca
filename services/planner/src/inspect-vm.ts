/** What a host says of a VM that is to be backed up. */
import type { HostId, Inspection } from '@backhaul/contracts';
import type { HypervisorHost } from '@backhaul/hypervisor';
import { type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { TriggeredBackup } from '@backhaul/planning';
import { type OnFault, type Patience, patiently } from './patience.ts';

export function inspectVm(
  hostNamed: (hostId: HostId) => Promise<Pick<HypervisorHost, 'inspect'> | undefined>,
  { hostId, vmId, parent }: TriggeredBackup,
  signal: AbortSignal,
  onFault: OnFault,
  patience?: Patience,
  onProgress?: (doing: string) => void,
): Promise<Result<Inspection>> {
  return patiently(
    {
      doing: `Inspecting VM ${vmId} on host ${hostId}`,
      async ask() {
        const host = await hostNamed(hostId);
        return host === undefined
          ? refuse(unknownHost(hostId))
          : await host.inspect(vmId, parent, { signal, ...(onProgress && { onProgress }) });
      },
      otherwise: 'InspectionFailed',
      wayOut: 'Mend what is named, then ask for the backup again under a new request id.',
    },
    signal,
    onFault,
    patience,
  );
}

export const unknownHost = (hostId: HostId): Refusal => ({
  code: 'UnknownHost',
  message: `Host ${hostId} is not one of this deployment's.`,
  wayOut: 'Add it to BACKHAUL_HOSTS of the planner and the proxy-manager.',
});
