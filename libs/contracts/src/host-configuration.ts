/**
 * Which hosts a deployment backs up from: one environment variable, read alike by every service that needs to know.
 * `BACKHAUL_HOSTS='[{"hostId":"lab","kind":"directory","address":"/srv/images"}]'`
 */
import { z } from 'zod';
import { ProxyNetwork, sharesAddresses } from './proxy-network.ts';
import { HostId } from './vocabulary.ts';

export const HostConfiguration = z.strictObject({
  hostId: HostId,
  /**
   * Which kind of host answers at `address`: for `directory` a folder of disk images; for `qemu` a folder with a QMP socket
   * `<vmId>.qmp` of every running VM and, where it has a guest agent, its channel `<vmId>.qga`; `simulated` has no data (load tests).
   */
  kind: z.enum(['directory', 'qemu', 'simulated']),
  address: z.string().min(1),
  /** For `qemu`: where the ports of its proxies are reached over TCP. */
  proxyNetwork: ProxyNetwork.optional(),
});
export type HostConfiguration = z.infer<typeof HostConfiguration>;

const HostList = z.array(HostConfiguration).superRefine((hosts, context) => {
  const complain = (message: string) => context.addIssue({ code: 'custom', message });
  const seen: HostConfiguration[] = [];
  for (const host of hosts) {
    const { hostId, kind, proxyNetwork } = host;
    if (seen.some((one) => one.hostId === hostId)) complain(`host ${hostId} is named twice`);
    if (proxyNetwork !== undefined) {
      if (kind !== 'qemu')
        complain(`host ${hostId} is of kind ${kind}, which has no proxyNetwork: its proxies are no VMs`);
      for (const other of seen) {
        if (other.proxyNetwork === undefined || !sharesAddresses(other.proxyNetwork, proxyNetwork)) continue;
        complain(`hosts ${other.hostId} and ${hostId} share addresses for their proxies: give each its own`);
      }
    }
    seen.push(host);
  }
});

/** For `BACKHAUL_HOSTS`: the JSON text, checked. */
export const HostsSetting = z
  .string()
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: `is not JSON: ${(error as Error).message}` });
      return z.NEVER;
    }
  })
  .pipe(HostList)
  .meta({ examples: ['[{"hostId":"lab","kind":"directory","address":"/srv/images"}]'] });

/** For `BACKHAUL_STATE_DIRECTORY`: where hosts keep sockets and notes about what they started. Absolute. */
export const StateDirectorySetting = z
  .string()
  .startsWith('/', 'must be an absolute path')
  .meta({ examples: ['/var/lib/backhaul'] });

/** For `BACKHAUL_APPLIANCE_DIRECTORY`: where the appliance that proxy VMs boot was built to. For hosts of kind `qemu`. */
export const ApplianceDirectorySetting = z
  .string()
  .startsWith('/', 'must be an absolute path')
  .optional()
  .meta({ examples: ['/var/cache/backhaul/appliance'] });

/** For `BACKHAUL_SCRATCH_DIRECTORY`: where what a guest overwrites during its backup is kept until the end. Default: the state directory. */
export const ScratchDirectorySetting = z
  .string()
  .startsWith('/', 'must be an absolute path')
  .optional()
  .meta({ examples: ['/var/lib/backhaul/scratch'] });

/** For `BACKHAUL_REPOSITORY`: the folder of the repository. */
export const RepositorySetting = z
  .string()
  .startsWith('/', 'must be an absolute path')
  .meta({ examples: ['/srv/backhaul/repository'] });
