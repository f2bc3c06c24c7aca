/** The guest agent that QEMU's authors make, in a guest with a file system: what a freeze is worth, and what an agent does that cannot. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AgentGuest, buildAgentGuest } from '@backhaul/appliance';
import { eventually } from '@backhaul/kernel';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Snapshot } from '../host.ts';
import { must } from '../host-contract.ts';
import { openHost } from '../open-host.ts';
import { type AgentVm, startAgentVm } from '../testing/agent-vm.ts';
import { readExport } from '../testing/read-export.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';
import { runTool } from '../tool.ts';
import { GuestAgent } from './guest-agent.ts';

const milliseconds = 30_000;
let fixture: VmHost;
let vm: AgentVm;
let snapshotId: string;

beforeAll(async () => {
  fixture = await makeVmHost();
  const guest: AgentGuest = await buildAgentGuest(fixture.path('guest'));
  vm = await startAgentVm(fixture, guest, await fixture.create('vda.raw', '16M'));
});
afterEach(() => give());
afterAll(() => fixture?.remove());

const patient = { agentMilliseconds: milliseconds, freezeMilliseconds: milliseconds };

async function take(deadlines: Partial<typeof patient> = {}): Promise<Snapshot> {
  const host = await openHost({ ...fixture.options, ...patient, ...deadlines });
  snapshotId = randomUUID();
  const disk = { diskId: 'vda', kind: 'full', parentCheckpoint: null, parentIdentity: null } as const;
  try {
    return must(await host.takeSnapshot({ snapshotId, vmId: 'web', disks: [disk] }));
  } finally {
    await host.close();
  }
}

async function give(): Promise<void> {
  const host = await openHost({ ...fixture.options, ...patient });
  await host.releaseSnapshot(snapshotId, 'web', 'discarded');
  await host.close();
}

interface FileSystem {
  readonly needsRecovery: boolean;
  /** What a check that repairs nothing ends with: 0 for a file system without a fault. */
  readonly checked: number;
  /** Lines in the log, all numbers from 1 on. */
  readonly lines: number;
}

/** The file system as it lies in the frozen disk, without its journal being replayed. */
async function frozenFileSystem(snapshot: Snapshot): Promise<FileSystem> {
  const image = fixture.path('frozen.raw');
  await writeFile(image, await readExport(snapshot.disks[0]?.endpoint ?? ''));
  const { stdout: header } = await runTool('dumpe2fs', ['-h', image], { milliseconds });
  const { stdout: log } = await runTool('debugfs', ['-R', 'cat /log', image], { milliseconds });
  const checked = await runTool('e2fsck', ['-fn', image], { milliseconds }).then(
    () => 0,
    () => 1,
  );
  const numbers = log.split('\n').filter((line) => line !== '');
  expect(numbers).toEqual(numbers.map((_, index) => String(index + 1)));
  return { needsRecovery: /features:.*needs_recovery/.test(header), checked, lines: numbers.length };
}

async function expectWriting(): Promise<void> {
  const before = await vm.lines();
  await eventually('More lines of the guest', milliseconds, async () =>
    (await vm.lines()) > before + 5 ? true : undefined,
  );
  const agent = await GuestAgent.connect(join(fixture.folder, 'web.qga'), milliseconds);
  expect(await agent.isFrozen(milliseconds)).toBe(false);
  agent.close();
}

test('a frozen file system is clean, and has everything that the guest had written to it', async () => {
  const before = await vm.lines();
  const snapshot = await take();
  expect(snapshot.consistency).toEqual({
    level: 'filesystem',
    reason: 'the guest agent froze 1 file system for the instant',
  });
  await expectWriting();
  const { lines, ...state } = await frozenFileSystem(snapshot);
  expect(state).toEqual({ needsRecovery: false, checked: 0 });
  expect(lines).toBeGreaterThanOrEqual(before);
  expect(lines).toBeLessThan(await vm.lines());
});

test('an agent that stands still is given up, and one that goes on is of use again', async () => {
  await vm.run('kill -STOP $(pidof qemu-ga)');
  const snapshot = await take({ agentMilliseconds: 500 });
  expect(snapshot.consistency).toEqual({
    level: 'crash',
    reason: 'The answer of the guest agent took longer than 500 ms',
  });
  expect((await frozenFileSystem(snapshot)).needsRecovery).toBe(true);
  await give();
  await vm.run('kill -CONT $(pidof qemu-ga)');
  expect((await take()).consistency?.level).toBe('filesystem');
  await expectWriting();
});

test('a guest that freezes too late is thawed behind it', async () => {
  await vm.run('echo 1 > /run/freezes-slowly');
  const { consistency } = await take({ freezeMilliseconds: 300 });
  await vm.run('rm /run/freezes-slowly');
  expect(consistency).toEqual({
    level: 'crash',
    reason: "The guest agent's guest-fsfreeze-freeze took longer than 300 ms",
  });
  await expectWriting();
});

test('a guest that was left frozen by somebody is thawed, and the instant is not taken for a clean one', async () => {
  const agent = await GuestAgent.connect(join(fixture.folder, 'web.qga'), milliseconds);
  expect(await agent.freeze(milliseconds)).toBe(1);
  agent.close();
  const { consistency } = await take();
  expect(consistency).toEqual({
    level: 'crash',
    reason: expect.stringMatching(/^The guest agent refused: .*frozen/),
  });
  await expectWriting();
});
