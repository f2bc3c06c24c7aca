/** Whatever fails or dies while a point in time is taken: the guest runs, is thawed, and writes as before. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '@backhaul/kernel';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { SnapshotOrder } from '../host.ts';
import { must } from '../host-contract.ts';
import { processesNaming } from '../processes.ts';
import { type AgentBehaviour, type StandInAgent, startAgent } from '../testing/stand-in-agent.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';
import { GuestAgent } from './guest-agent.ts';

const CALLER = fileURLToPath(new URL('../testing/taking-snapshot.fixture.ts', import.meta.url));
const milliseconds = 30_000;

let fixture: VmHost;
let agent: StandInAgent | undefined;
const callers = new Set<ChildProcess>();

beforeEach(async () => {
  fixture = await makeVmHost();
  const disks = [await fixture.create('vda.qcow2', '8M'), await fixture.create('vdb.raw', '8M')];
  await fixture.start('web', disks);
});
afterEach(async () => {
  for (const caller of callers) caller.kill('SIGKILL');
  callers.clear();
  await fixture?.remove();
  await agent?.close();
  agent = undefined;
});

const order = (snapshotId: string = randomUUID()): SnapshotOrder => ({
  snapshotId,
  vmId: 'web',
  disks: ['vda', 'vdb'].map((diskId) => ({
    diskId,
    kind: 'full',
    parentCheckpoint: null,
    parentIdentity: null,
  })),
});

async function withAgent(behaviour: AgentBehaviour = {}): Promise<StandInAgent> {
  agent = await startAgent(join(fixture.folder, 'web.qga'), behaviour);
  return agent;
}

/** Takes a snapshot in a process that the test can kill. */
function startCaller(wanted: SnapshotOrder): ChildProcess {
  const caller = spawn(process.execPath, [CALLER, JSON.stringify(fixture.options), JSON.stringify(wanted)], {
    stdio: 'ignore',
  });
  callers.add(caller);
  return caller;
}

/** The monitor's path is one of its arguments. */
const freezers = () => processesNaming(process.execPath, `${fixture.folder}/web.qmp`);

async function killFreezers(): Promise<void> {
  for (const { pid } of await freezers()) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      // It may have come to its own end since it was seen.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  await eventually('The end of the freezer', milliseconds, async () =>
    (await freezers()).length === 0 ? true : undefined,
  );
}

async function expectUnharmed(): Promise<void> {
  await eventually('The guest running again', milliseconds, async () =>
    (await fixture.vm().status()) === 'running' ? true : undefined,
  );
  if (agent !== undefined) {
    const { isFrozen } = agent;
    await eventually('The guest thawed again', milliseconds, () => (isFrozen() ? undefined : true));
  }
  expect(await fixture.vm().io('vda', 'write -P 0x77 0 64k')).toBe('');
}

/** Taken by whoever comes after, the same snapshot stands; given back, nothing of it is left. */
async function expectTakenAnew(wanted: SnapshotOrder): Promise<void> {
  const host = await fixture.open();
  try {
    const snapshot = must(await host.takeSnapshot(wanted));
    expect(snapshot.disks.map(({ diskId }) => diskId)).toEqual(['vda', 'vdb']);
    await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
    expect(await fixture.leftovers()).toEqual([]);
  } finally {
    await host.close();
  }
}

/** Freezing gets as far as the agent being asked, and goes on when `go` is called. */
function pausedFreeze(): { behaviour: AgentBehaviour; asked: Promise<void>; go: () => void } {
  let go = (): void => undefined;
  let tell = (): void => undefined;
  const asked = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const gone = new Promise<void>((resolve) => {
    go = resolve;
  });
  const before = async (command: string): Promise<void> => {
    if (command !== 'guest-fsfreeze-freeze') return;
    tell();
    await gone;
  };
  return { behaviour: { before }, asked, go: () => go() };
}

test('with an agent that works the snapshot is file-system consistent, and the guest is thawed after it runs', async () => {
  const statuses: string[] = [];
  const working = await withAgent({
    before: async (command) => {
      if (command === 'guest-fsfreeze-thaw') statuses.push(await fixture.vm().status());
    },
  });
  const host = await fixture.open();
  const snapshot = must(await host.takeSnapshot(order()));
  expect(snapshot.consistency).toEqual({
    level: 'filesystem',
    reason: 'the guest agent froze 2 file systems for the instant',
  });
  expect(working.commands).toEqual(['guest-sync-delimited', 'guest-fsfreeze-freeze', 'guest-fsfreeze-thaw']);
  expect(statuses).toEqual(['running']);
  expect(working.isFrozen()).toBe(false);
  await host.close();
});

test.each<[string, AgentBehaviour, RegExp]>([
  ['that never answers', { before: () => new Promise(() => undefined) }, /longer than 500 ms/],
  [
    'that refuses to freeze',
    { refuses: { 'guest-fsfreeze-freeze': 'not today' } },
    /the guest agent refused: not today/i,
  ],
])(
  'with an agent %s the snapshot is taken all the same, and says why it is crash-consistent',
  async (_, behaviour, reason) => {
    await withAgent(behaviour);
    const host = await fixture.open();
    const { consistency } = must(await host.takeSnapshot(order()));
    expect(consistency).toMatchObject({ level: 'crash', reason: expect.stringMatching(reason) });
    await expectUnharmed();
    await host.close();
  },
);

test('a guest that freezes too late is thawed behind it', async () => {
  const late = pausedFreeze();
  const slow = await withAgent(late.behaviour);
  const host = await fixture.open();
  const taking = host.takeSnapshot(order());
  await late.asked;
  await eventually('The freeze being given up', milliseconds, async () =>
    (await fixture.vm().tell((qmp) => qmp.execute('query-block'))) !== undefined && (await filtersOf()) === 2
      ? true
      : undefined,
  );
  late.go();
  expect(must(await taking).consistency?.level).toBe('crash');
  await eventually('The thaw', milliseconds, () => (slow.isFrozen() ? undefined : true));
  expect(slow.commands).toContain('guest-fsfreeze-thaw');
  await host.close();
});

test('a caller that is killed while the guest is held: the freezer goes on and lets it go', async () => {
  const freeze = pausedFreeze();
  const working = await withAgent(freeze.behaviour);
  const wanted = order();
  const caller = startCaller(wanted);
  await freeze.asked;
  caller.kill('SIGKILL');
  await once(caller, 'close');
  freeze.go();
  await eventually('The freezer being done', milliseconds, () =>
    working.commands.includes('guest-fsfreeze-thaw') ? true : undefined,
  );
  await expectUnharmed();
  await expectTakenAnew(wanted);
});

test.each(['snapshots', 'scratch', 'freezer', 'filter', 'export'])(
  'a caller that is killed when its %s appears can be followed by another, and the guest writes on',
  async (moment) => {
    const wanted = order();
    const caller = startCaller(wanted);
    await eventually(`The ${moment}`, milliseconds, () => hasAppeared(moment, caller), 2);
    caller.kill('SIGKILL');
    if (caller.exitCode === null && caller.signalCode === null) await once(caller, 'close');
    expect(await fixture.vm().io('vda', 'write -P 0x31 0 64k')).toBe('');
    await expectTakenAnew(wanted);
    await expectUnharmed();
  },
);

async function hasAppeared(moment: string, caller: ChildProcess): Promise<true | undefined> {
  if (caller.exitCode !== null) return true;
  if (moment === 'freezer') return (await freezers()).length > 0 ? true : undefined;
  if (moment === 'filter') return (await filtersOf()) > 0 ? true : undefined;
  if (moment === 'export') {
    const exports = await fixture.vm().tell((qmp) => qmp.execute('query-block-exports'));
    return (exports as unknown[]).length > 0 ? true : undefined;
  }
  const files = await readdir(join(fixture.stateFolder, moment), { recursive: true }).catch(() => []);
  return files.length > 0 ? true : undefined;
}

test('a freezer that is killed while the guest is held: the caller lets it go, and nothing is left', async () => {
  const freeze = pausedFreeze();
  await withAgent(freeze.behaviour);
  const host = await fixture.open();
  const taking = host.takeSnapshot(order());
  const failed = expect(taking).rejects.toThrow(/point in time/);
  await freeze.asked;
  // As it would be found after its own stop.
  await fixture.vm().tell((qmp) => qmp.execute('stop'));
  await killFreezers();
  freeze.go();
  await failed;
  await expectUnharmed();
  expect(await fixture.leftovers()).toEqual([]);
  await host.close();
});

test('a freezer that hangs while the guest is held is ended, and the guest let go', async () => {
  const freeze = pausedFreeze();
  await withAgent(freeze.behaviour);
  const host = await fixture.open();
  const failed = expect(host.takeSnapshot(order())).rejects.toThrow(/point in time/);
  await freeze.asked;
  for (const { pid } of await freezers()) process.kill(pid, 'SIGSTOP');
  await fixture.vm().tell((qmp) => qmp.execute('stop'));
  freeze.go();
  await failed;
  await expectUnharmed();
  expect(await fixture.leftovers()).toEqual([]);
  await host.close();
});

test('caller and freezer killed together: whoever opens the host next lets the guest go, before anything else', async () => {
  const freeze = pausedFreeze();
  await withAgent(freeze.behaviour);
  const wanted = order();
  const caller = startCaller(wanted);
  await freeze.asked;
  caller.kill('SIGKILL');
  await killFreezers();
  await fixture.vm().tell((qmp) => qmp.execute('stop'));
  freeze.go();
  expect(await fixture.vm().status()).toBe('paused');
  const host = await fixture.open();
  await expectUnharmed();
  expect((await host.observe()).snapshots).toMatchObject([{ snapshotId: wanted.snapshotId, state: 'gone' }]);
  // Once: who pauses it from now on has a reason.
  await fixture.vm().tell((qmp) => qmp.execute('stop'));
  await host.observe();
  expect(await fixture.vm().status()).toBe('paused');
  await fixture.vm().tell((qmp) => qmp.execute('cont'));
  await host.close();
  await expectTakenAnew(wanted);
});

test('a guest that was let go is let go once: who pauses or freezes it afterwards is not undone by looking', async () => {
  const refuses: Record<string, string> = { 'guest-fsfreeze-thaw': 'not now' };
  const thawing = await withAgent({ refuses });
  const host = await fixture.open();
  const wanted = order();
  must(await host.takeSnapshot(wanted));
  expect(thawing.isFrozen()).toBe(true);
  // A thaw is owed: it is tried again, and nothing else is done to the guest.
  await fixture.vm().tell((qmp) => qmp.execute('stop'));
  await host.observe();
  expect(await fixture.vm().status()).toBe('paused');
  delete refuses['guest-fsfreeze-thaw'];
  await eventually('The thaw', milliseconds, async () => {
    await host.observe();
    return thawing.isFrozen() ? undefined : true;
  });

  const another = await GuestAgent.connect(join(fixture.folder, 'web.qga'), milliseconds);
  await another.freeze(milliseconds);
  another.close();
  expect((await host.observe()).snapshots).toMatchObject([{ state: 'alive' }]);
  await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
  expect(thawing.isFrozen()).toBe(true);
  expect(await fixture.vm().status()).toBe('paused');
  await host.close();
});

test('a freezer killed at the very moment the guest stops, many times: the guest always runs on', async () => {
  const host = await fixture.open();
  for (let round = 0; round < 5; round += 1) {
    const wanted = order();
    const killing = fixture.vm().tell(async (qmp) => {
      await qmp.waitForEvent('STOP', () => true, milliseconds);
      await killFreezers();
    });
    const taken = await host.takeSnapshot(wanted).catch(() => undefined);
    await killing;
    await expectUnharmed();
    if (taken !== undefined) await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
    expect(await fixture.leftovers()).toEqual([]);
  }
  await host.close();
});

test('a guest that its administrator had paused stays paused', async () => {
  await fixture.vm().tell((qmp) => qmp.execute('stop'));
  const host = await fixture.open();
  const wanted = order();
  must(await host.takeSnapshot(wanted));
  expect(await fixture.vm().status()).toBe('paused');
  await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
  expect(await fixture.vm().status()).toBe('paused');
  expect(await fixture.leftovers()).toEqual([]);
  await host.close();
});

const filtersOf = (): Promise<number> =>
  fixture.vm().tell(async (qmp) => {
    const drives = (await qmp.execute('query-block')) as { inserted?: { drv: string } }[];
    return drives.filter((drive) => drive.inserted?.drv === 'copy-before-write').length;
  });
