/**
 * Proxies whose ports are on a network that the administrator gives: which address a proxy takes, what its QEMU and its appliance
 * are told of it, and where a client finds a port. The tap device between the VM and the bridge is made by QEMU's own helper, which
 * asks /etc/qemu/bridge.conf who may: we need no privilege for it. The appliance takes no address that answers already.
 */
import { readFile } from 'node:fs/promises';
import { addressesOf, type ProxyNetwork } from '@backhaul/contracts';
import { derivedId, Fault, ipv4Number, ipv4Text } from '@backhaul/kernel';

/** Of port 0: the one that IANA assigned to NBD. The appliance knows it too (infra/appliance/guest/tcp-ports.lua). */
const FIRST_TCP_PORT = 10_809;

/** `address`: with the prefix, `10.20.0.10/24`. */
export const tcpEndpoint = (address: string, port: number): string =>
  `nbd://${address.replace(/\/.*/, '')}:${FIRST_TCP_PORT + port}`;

/**
 * An address that none of `taken` is, with its prefix. Proxies begin to look at different places: where a stranger has taken one of the
 * addresses, the next proxy that is tried takes another. Throws a Fault, code `AddressesUsedUp`.
 */
export function chooseAddress(network: ProxyNetwork, proxyId: string, taken: readonly string[]): string {
  const { range, prefix } = addressesOf(network);
  const count = range.last - range.first + 1;
  const start = Number.parseInt(derivedId('proxy-address', proxyId).slice(0, 8), 16) % count;
  for (let n = 0; n < count; n += 1) {
    const address = `${ipv4Text(range.first + ((start + n) % count))}/${prefix}`;
    if (!taken.includes(address)) return address;
  }
  throw new Fault(`All ${count} addresses for proxies (${network.addresses}) have a proxy: give them more`, {
    code: 'AddressesUsedUp',
  });
}

/** The greatest packet that goes over the bridge, in bytes. Throws a permanent Fault, code `ProxyNetworkMissing`. */
export async function mtuOfBridge({ bridge }: ProxyNetwork): Promise<number> {
  const device = `/sys/class/net/${bridge}`;
  try {
    // A device that is no bridge has none.
    await readFile(`${device}/bridge/bridge_id`);
    return Number(await readFile(`${device}/mtu`, 'utf8'));
  } catch (cause) {
    throw new Fault(`There is no bridge ${bridge} for the ports of proxies: make it, or name another`, {
      cause,
      permanent: true,
      code: 'ProxyNetworkMissing',
    });
  }
}

/** QEMU's own: a device of the guest behind a port of the bridge. */
export function networkArguments({ bridge }: ProxyNetwork, address: string, mtu: number): string[] {
  const device = `virtio-net-pci,netdev=net,mac=${macOf(address)},host_mtu=${mtu},romfile=`;
  return ['-netdev', `bridge,id=net,br=${bridge}`, '-device', device];
}

/** For the kernel's command line: what the appliance reads there. */
export function applianceOptions(network: ProxyNetwork, address: string, ports: number): string[] {
  const { prefix, network: own } = addressesOf(network);
  const clients = network.clients ?? [`${ipv4Text(own.first)}/${prefix}`];
  return [
    `backhaul.ports=${ports}`,
    `backhaul.address=${address}`,
    `backhaul.clients=${clients.map((one) => (one.includes('/') ? one : `${one}/32`)).join(',')}`,
    ...(network.gateway === undefined ? [] : [`backhaul.gateway=${network.gateway}`]),
  ];
}

/** Locally administered, and of this address: no two of a network are the same, and no neighbour has to learn another. */
function macOf(address: string): string {
  const number = ipv4Number(address.replace(/\/.*/, '')) ?? 0;
  const bytes = [24, 16, 8, 0].map((shift) => ((number >>> shift) & 0xff).toString(16).padStart(2, '0'));
  return ['02', '62', ...bytes].join(':');
}
