/**
 * Proxies whose ports are on a network that the administrator gives: which address a proxy takes, what its QEMU and its appliance
 * are told of it, and where a client finds a port. The tap device between the VM and the bridge is made by QEMU's own helper, which
 * asks /etc/qemu/bridge.conf who may: we need no privilege for it. The appliance takes no address that answers already.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { addressesOf, type ProxyNetwork } from '@backhaul/contracts';
import { derivedId, Fault, ipv4Number, ipv4Text } from '@backhaul/kernel';

/** Of port 0: the one that IANA assigned to NBD. The appliance knows it too (infra/appliance/guest/tcp-ports.lua). */
const FIRST_TCP_PORT = 10_809;

/** `address`: with the prefix, `10.20.0.10/24`. */
export const tcpEndpoint = (address: string, port: number): string =>
  `nbd://${address.split('/')[0]}:${FIRST_TCP_PORT + port}`;

/**
 * An address that none of `taken` is, whatever their prefixes, with its own prefix. Proxies begin to look at different places: where
 * a stranger has taken one of the addresses, the next proxy that is tried takes another. Throws a Fault, code `AddressesUsedUp`.
 */
export function chooseAddress(network: ProxyNetwork, proxyId: string, taken: readonly string[]): string {
  const { range, prefix } = addressesOf(network);
  const count = range.last - range.first + 1;
  const start = Number.parseInt(derivedId('proxy-address', proxyId).slice(0, 8), 16) % count;
  const takenNumbers = new Set(taken.map(numberOf));
  for (let n = 0; n < count; n += 1) {
    const address = range.first + ((start + n) % count);
    if (!takenNumbers.has(address)) return `${ipv4Text(address)}/${prefix}`;
  }
  throw new Fault(`All ${count} addresses for proxies (${network.addresses}) have a proxy: give them more`, {
    code: 'AddressesUsedUp',
  });
}

/**
 * That the bridge is there and forwards at once what a new VM sends; `mtu`: the greatest packet that goes over it, in bytes. Throws permanent
 * Faults, codes `ProxyNetworkMissing` and `ProxyNetworkUnusable`.
 */
export async function requireBridge({ bridge }: ProxyNetwork): Promise<{ mtu: number }> {
  const read = async (name: string) => Number(await readFile(`/sys/class/net/${bridge}/${name}`, 'utf8'));
  // Devices that are no bridges have none of these. Hundredths of a second.
  const [stp, delay, mtu] = await Promise.all(
    ['bridge/stp_state', 'bridge/forward_delay', 'mtu'].map(read),
  ).catch((cause: unknown) => {
    throw new Fault(`There is no bridge ${bridge} for the ports of proxies: make it, or name another`, {
      cause,
      permanent: true,
      code: 'ProxyNetworkMissing',
    });
  });
  if (stp !== 0 && delay !== 0) {
    throw new Fault(
      `Bridge ${bridge} keeps a new port silent for twice its forward delay of ${(delay ?? 0) / 100} s (STP), and no proxy can be reached ` +
        `meanwhile: set its forward_delay to 0, or stp_state to 0`,
      { permanent: true, code: 'ProxyNetworkUnusable' },
    );
  }
  return { mtu: mtu ?? 0 };
}

/** QEMU's own: a device of the guest behind a port of the bridge. */
export function networkArguments({ bridge }: ProxyNetwork, mtu: number): string[] {
  const device = `virtio-net-pci,netdev=net,mac=${newMac()},host_mtu=${mtu},romfile=`;
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

/** Locally administered, and new at each boot: who asks whether its address is taken must not look like the one that has it. */
const newMac = (): string =>
  ['02', ...[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');

const numberOf = (address: string): number | undefined => ipv4Number(address.split('/')[0] ?? '');
