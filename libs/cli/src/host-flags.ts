/** The hosts of `backhaul up`, as its flags name them. What does not fit is refused in words that name it. */
import { resolve } from 'node:path';
import { type HostConfiguration, HostsSetting } from '@backhaul/contracts';
import { usage } from './exit.ts';

/** `name=folder`, or `name=kind:folder`; a folder whose name looks like a kind is written with its path. */
export function readHost(text: string): HostConfiguration {
  const [, hostId, kind = 'directory', folder] = /^([^=]+)=(?:(directory|qemu):)?(.+)$/.exec(text) ?? [];
  if (hostId === undefined || folder === undefined) {
    throw usage(
      `"${text}" names no host. Write it as name=folder for a folder of disk images, such as lab=/srv/images, ` +
        'or as name=qemu:folder for a folder with the QMP sockets of running VMs, such as lab=qemu:/run/vms.',
    );
  }
  return { hostId, kind: kind as 'directory' | 'qemu', address: resolve(folder) };
}

/** Each network to the host that it is of. */
export function withProxyNetworks(
  hosts: readonly HostConfiguration[],
  networks: readonly string[],
): HostConfiguration[] {
  const given = networks.map(readProxyNetwork);
  const byHost = new Map(given);
  if (byHost.size < given.length) throw usage('--proxy-network may be given once for each host.');
  for (const hostId of byHost.keys()) {
    if (!hosts.some((host) => host.hostId === hostId))
      throw usage(`--proxy-network names host ${hostId}, and no --host does.`);
  }
  const configured = hosts.map((host) => {
    const proxyNetwork = byHost.get(host.hostId);
    return proxyNetwork === undefined ? host : { ...host, proxyNetwork };
  });
  const checked = HostsSetting.safeParse(JSON.stringify(configured));
  if (checked.success) return checked.data;
  throw usage(
    checked.error.issues
      .map(({ path: [index, ...path], message }) =>
        [
          ...(index === undefined ? [] : [`host ${configured[Number(index)]?.hostId}`]),
          ...path,
          message,
        ].join(': '),
      )
      .join('; '),
  );
}

/** `name=bridge,addresses[,gateway=ADDRESS][,client=NETWORK]...`; what they are is checked with the host that they are of. */
function readProxyNetwork(text: string): [hostId: string, network: Record<string, unknown>] {
  const [, hostId, rest = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const [bridge, addresses, ...more] = rest.split(',');
  const valuesOf = (key: string) =>
    more.filter((part) => part.startsWith(`${key}=`)).map((part) => part.slice(key.length + 1));
  const [gateways, clients] = [valuesOf('gateway'), valuesOf('client')];
  const understood = gateways.length + clients.length === more.length && gateways.length <= 1;
  if (hostId === undefined || addresses === undefined || !understood) {
    throw usage(
      `"${text}" names no network for proxies. Write it as name=bridge,first-last/prefix, such as ` +
        'lab=br-backup,10.20.0.10-10.20.0.59/24; gateway=ADDRESS and client=NETWORK may follow.',
    );
  }
  const [gateway] = gateways;
  return [
    hostId,
    {
      bridge,
      addresses,
      ...(gateway === undefined ? {} : { gateway }),
      ...(clients.length === 0 ? {} : { clients }),
    },
  ];
}
