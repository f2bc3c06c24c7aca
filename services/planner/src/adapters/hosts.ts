/** The hosts of this deployment, opened when first needed: one that cannot be opened refuses its own backups only. */
import type { HostConfiguration } from '@backhaul/contracts';
import { type HostOptions, type HypervisorHost, openHost } from '@backhaul/hypervisor';

export interface Hosts {
  /** Undefined for a host that is not configured. */
  named(hostId: string): Promise<HypervisorHost | undefined>;
  close(): Promise<void>;
}

/** `site`: what all hosts are opened with, whatever their kind. */
export function hostsOf(
  configured: readonly HostConfiguration[],
  site: Omit<HostOptions, keyof HostConfiguration>,
): Hosts {
  const opened = new Map<string, Promise<HypervisorHost>>();
  return {
    async named(hostId) {
      const host = configured.find((each) => each.hostId === hostId);
      if (host === undefined) return undefined;
      const opening = opened.get(hostId) ?? openHost({ ...host, ...site });
      opened.set(hostId, opening);
      try {
        return await opening;
      } catch (error) {
        // What was in the way may be gone the next time.
        opened.delete(hostId);
        throw error;
      }
    },
    async close() {
      const hosts = await Promise.allSettled(opened.values());
      await Promise.all(hosts.map((host) => (host.status === 'fulfilled' ? host.value.close() : undefined)));
    },
  };
}
