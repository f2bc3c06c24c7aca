/**
 * The network on which the proxies of a host have their ports, where an administrator gives one: a bridge of the machine that runs the
 * proxy VMs, and addresses that nobody else hands out. Without one, ports are channels of the VMs, reached on that machine alone.
 * What goes over it is neither encrypted nor signed: it is a network for backups, and who may connect is named.
 */
import { type Ipv4Range, ipv4Network, ipv4Number, ipv4Overlap, parseIpv4Network } from '@backhaul/kernel';
import { z } from 'zod';

/** Networks named, of those who may connect: they go through the kernel's command line, which has 2,048 characters. */
const CLIENTS_MAX = 32;
/** A network of fewer has no room for a proxy beside its own two addresses, and the host's. */
const PREFIX_MAX = 29;
const PREFIX_MIN = 8;

const Client = z
  .string()
  .refine(
    (text) => parseIpv4Network(text) !== undefined,
    'must be an IPv4 address, or a network such as 10.20.0.0/24',
  );

const Addresses = z.string().superRefine((text, context) => {
  const problem = problemOf(text);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
});

export const ProxyNetwork = z
  .strictObject({
    /** A Linux bridge. Whoever runs QEMU must be allowed to use it (`allow NAME` in /etc/qemu/bridge.conf). */
    bridge: z
      .string()
      .regex(
        /^(?!\.{1,2}$)[^\s/:,]{1,15}$/,
        'must be the name of a bridge: 1 to 15 characters, as ip link shows it',
      ),
    /** First and last address for proxies, and the length of the network's prefix: `10.20.0.10-10.20.0.59/24`. */
    addresses: Addresses,
    /** The way to clients that are not on this network themselves. */
    gateway: z.ipv4().optional(),
    /** Who may connect: where ingest and export run. Default: whoever is on this network. */
    clients: z.array(Client).min(1).max(CLIENTS_MAX).optional(),
  })
  .superRefine(({ addresses, gateway, clients }, context) => {
    const read = readAddresses(addresses);
    if (read === undefined || problemOf(addresses) !== undefined) return;
    const complain = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    if (gateway === undefined) {
      const beyond = clients?.find((client) => !isOn(read.network, client));
      if (beyond !== undefined)
        complain('gateway', `must be named: ${beyond} is not on the network of the proxies`);
      return;
    }
    const { range, network } = read;
    const address = ipv4Number(gateway) ?? 0;
    if (address <= network.first || address >= network.last) {
      complain('gateway', `must be a machine on the network of the addresses, ${addresses}`);
    } else if (address >= range.first && address <= range.last) {
      complain('gateway', `must not be one of the addresses for proxies, ${addresses}`);
    }
    if (clients === undefined) complain('clients', 'must name who may connect through the gateway');
  });
export type ProxyNetwork = z.infer<typeof ProxyNetwork>;

export interface ProxyAddresses {
  /** For proxies. */
  readonly range: Ipv4Range;
  readonly prefix: number;
  /** What they are on. */
  readonly network: Ipv4Range;
}

/** Whether all of these clients are on it. */
function isOn(network: Ipv4Range, client: string): boolean {
  const range = parseIpv4Network(client);
  return range === undefined || (range.first >= network.first && range.last <= network.last);
}

/** Of a network that was checked. */
export function addressesOf({ addresses }: Pick<ProxyNetwork, 'addresses'>): ProxyAddresses {
  const read = readAddresses(addresses);
  if (read === undefined) throw new Error(`${addresses} was not checked`);
  return read;
}

/** Whether two hosts would give the same address to their proxies. What is wrong in itself is told elsewhere. */
export function sharesAddresses(one: ProxyNetwork, other: ProxyNetwork): boolean {
  const [mine, theirs] = [readAddresses(one.addresses), readAddresses(other.addresses)];
  return mine !== undefined && theirs !== undefined && ipv4Overlap(mine.range, theirs.range);
}

function readAddresses(text: string): ProxyAddresses | undefined {
  const parts = /^(?<first>[\d.]+)-(?<last>[\d.]+)\/(?<prefix>\d{1,2})$/.exec(text)?.groups;
  const [first, last] = [ipv4Number(parts?.first ?? ''), ipv4Number(parts?.last ?? '')];
  const prefix = Number(parts?.prefix);
  if (first === undefined || last === undefined || prefix > 32) return undefined;
  return { range: { first, last }, prefix, network: ipv4Network(first, prefix) };
}

/** Neither "this network", nor loopback, nor multicast and what is above it. */
function isForMachines({ first, last }: Ipv4Range): boolean {
  const [from, to] = [first, last].map((address) => Math.floor(address / 2 ** 24)) as [number, number];
  return from >= 1 && to < 224 && (to < 127 || from > 127);
}

function problemOf(text: string): string | undefined {
  const read = readAddresses(text);
  if (read === undefined) {
    return 'must be the first and the last address and the length of the prefix, such as 10.20.0.10-10.20.0.59/24';
  }
  const { range, prefix, network } = read;
  if (prefix < PREFIX_MIN || prefix > PREFIX_MAX)
    return `must have a prefix of ${PREFIX_MIN} to ${PREFIX_MAX} bits`;
  if (range.first > range.last) return 'must not end before it begins';
  if (range.last > network.last) return `must lie in one network of ${prefix} bits`;
  if (!isForMachines(range))
    return 'must be addresses that machines can have: not of 0, 127 or 224 and above';
  if (range.first === network.first) return 'must not have the address of the network itself';
  if (range.last === network.last) return "must not have the network's broadcast address";
  return undefined;
}
