/**
 * A network for the proxies of a test, as an administrator would make one: a bridge, the machine's own address on it, QEMU's leave to use
 * it, and another machine on it (a network namespace). `remove` takes all of it away. Only root can make one.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { run } from './run.ts';

/** Who may use which bridge, by QEMU's helper. Tests of other processes write to it as well. */
const ACL_FOLDER = '/etc/qemu';
const ACL = `${ACL_FOLDER}/bridge.conf`;

export interface TestNetwork {
  /** What a host is configured with: a bridge, and addresses .10 to .29 of a network of 24 bits. */
  readonly bridge: string;
  readonly addresses: string;
  /** An address of this network by its last byte. */
  at(last: number): string;
  /** This machine's own: .1. */
  readonly own: string;
  /** The other machine's: .2, and one that is behind it, of another network. */
  readonly neighbour: string;
  readonly behind: string;
  /** Gives the other machine one more address of this network, or takes one away. */
  take(address: string): Promise<void>;
  drop(address: string): Promise<void>;
  /** Whether a new port of the bridge is silent at first, and for how long: STP with this forward delay; 0: none. */
  delayForwarding(seconds: number): Promise<void>;
  /** What a command on the other machine prints; `from`: with which of its addresses it connects. */
  onNeighbour(from: string, command: string, args: readonly string[]): Promise<string>;
  remove(): Promise<void>;
}

export const canMakeNetworks = (): boolean => process.getuid?.() === 0;

export async function makeTestNetwork(): Promise<TestNetwork> {
  const name = `bt${randomBytes(3).toString('hex')}`;
  const [space, veth, peer] = [`${name}-ns`, `${name}-v`, `${name}-p`];
  const [second = 0, third = 0] = randomBytes(2);
  const at = (last: number): string => `10.${64 + (second % 64)}.${third}.${last}`;
  const behind = `172.31.${third}.1`;
  const ip = (...args: readonly string[]) => run('ip', args);
  const inside = (...args: readonly string[]) => ip('-n', space, ...args);

  const remove = async (): Promise<void> => {
    // The device by itself: what still runs in the name space keeps its other end.
    for (const device of [veth, name]) await ip('link', 'delete', device).catch(() => undefined);
    await ip('netns', 'delete', space).catch(() => undefined);
    await editAcl(
      `if [ -e ${ACL} ]; then sed -i '/^allow ${name}$/d' ${ACL}; [ -s ${ACL} ] || rm ${ACL}; fi`,
    );
  };
  try {
    await mkdir(ACL_FOLDER, { recursive: true });
    await editAcl(`echo 'allow ${name}' >> ${ACL}`);
    await ip('link', 'add', name, 'type', 'bridge');
    await ip('address', 'add', `${at(1)}/24`, 'dev', name);
    await ip('link', 'set', name, 'up');
    await ip('netns', 'add', space);
    await ip('link', 'add', veth, 'type', 'veth', 'peer', 'name', peer, 'netns', space);
    await ip('link', 'set', veth, 'master', name, 'up');
    await inside('address', 'add', `${at(2)}/24`, 'dev', peer);
    await inside('address', 'add', `${behind}/32`, 'dev', peer);
    await inside('link', 'set', peer, 'up');
  } catch (error) {
    await remove().catch(() => undefined);
    throw error;
  }
  return {
    bridge: name,
    addresses: `${at(10)}-${at(29)}/24`,
    at,
    own: at(1),
    neighbour: at(2),
    behind,
    take: async (address) => {
      await inside('address', 'add', `${address}/24`, 'dev', peer);
    },
    drop: async (address) => {
      await inside('address', 'delete', `${address}/24`, 'dev', peer);
    },
    delayForwarding: async (seconds) => {
      const stp = seconds === 0 ? ['0'] : ['1', 'forward_delay', String(seconds * 100)];
      await ip('link', 'set', name, 'type', 'bridge', 'stp_state', ...stp);
    },
    async onNeighbour(from, command, args) {
      await inside('route', 'replace', `${at(0)}/24`, 'dev', peer, 'src', from);
      return await run('ip', ['netns', 'exec', space, command, ...args], { milliseconds: 60_000 });
    },
    remove,
  };
}

const editAcl = (command: string): Promise<string> =>
  run('flock', [ACL_FOLDER, 'sh', '-c', command], { milliseconds: 10_000 });
