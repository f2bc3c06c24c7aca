/**
 * Real proxy VMs of which one becomes slow and another sick: the next choices follow, and the log says why. The slow one is a QEMU process
 * that is stopped most of the time; the servers in the sick one are killed, as the kernel does for want of memory.
 */
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { EventData } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HOST } from './lab.ts';
import { everythingWasGivenBack, ofType } from './log-checks.ts';
import { openQemuLab, type QemuLab } from './qemu-lab.ts';
import { slowDown } from './slow-process.ts';

const PROXIES = { maxPortsPerProxy: 2, maxChildJobsPerProxy: 2, maxProxiesPerHost: 3 };
let lab: QemuLab;

beforeAll(async () => {
  lab = await openQemuLab();
  const common = { ...PROXIES, fullThresholdBytes: 1 * MiB, proxyIdleSeconds: 600 };
  await lab.definePolicy('three', { ...common, childJobBytes: 8 * MiB });
  await lab.definePolicy('two', { ...common, childJobBytes: 12 * MiB });
  await lab.vm('web', {
    disks: [{ diskId: 'vda', sizeBytes: 48 * MiB, random: [[0, 48 * MiB]] }],
    pauseMilliseconds: 200,
  });
}, 300_000);
afterAll(() => lab?.close());

/** What was chosen, and what an operator is told of it. */
async function backup(
  policy: string,
): Promise<EventData<'ProxiesChosen'> & { readonly rowOf: (proxyId: string) => string }> {
  const backupId = await lab.backup('web', { policy, kind: 'full' });
  expect((await lab.ended(backupId, 120_000)).type).toBe('BackupCompleted');
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  everythingWasGivenBack(story);
  const [choice, ...again] = ofType(story, 'ProxiesChosen');
  expect(again).toEqual([]);
  if (choice === undefined) throw new Error('Nothing was chosen');
  // The console may be a moment behind the log.
  const table = await eventually('The explanation of the choice', 20_000, async () => {
    const answer = await lab.fetch('console', `/api/v1/backups/${backupId}/explain`);
    const { item } = (await answer.json()) as { item?: { lines: string[] } };
    const begin = item?.lines.findIndex((line) => line.startsWith('Proxies looked at')) ?? -1;
    return begin === -1 ? undefined : item?.lines.slice(begin);
  });
  const rowOf = (proxyId: string) => table.find((line) => line.startsWith(`  ${proxyId}`)) ?? '';
  return { ...choice.data, rowOf };
}

/** Bytes per second and port of the run that closed last, by proxy. */
async function lastSpeeds(): Promise<Map<string, number>> {
  const { events } = await lab.log.readLog(0, { types: ['ProxyThroughputObserved'] });
  const told = ofType(events, 'ProxyThroughputObserved').map(({ data }) => data);
  const last = told.filter(({ runId }) => runId === told.at(-1)?.runId);
  return new Map(last.map(({ proxyId, bytes, portSeconds }) => [proxyId, bytes / portSeconds]));
}

const folderOf = (proxyId: string): string => join(lab.stack.stateDirectory, HOST, 'proxies', proxyId);

async function processOf(proxyId: string): Promise<number> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.startsWith('qemu-system') && command.includes(`${folderOf(proxyId)}/`)) return Number(pid);
  }
  throw new Error(`Proxy ${proxyId} has no process`);
}

/** Ends the server that waits at a port, and hears that the appliance was told. */
async function killServer(proxyId: string, port: number): Promise<void> {
  const socket = connect(join(folderOf(proxyId), 'ctl'));
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      let text = '';
      // Not of silence: the appliance may talk on and on, and not of this.
      timer = setTimeout(() => reject(new Error(`Proxy ${proxyId} does not answer`)), 10_000);
      socket.once('error', reject);
      socket.once('connect', () => socket.write(`\n{"ask":"kill-${port}","end":${port}}\n`));
      socket.on('data', (part) => {
        text += part;
        if (text.includes(`"kill-${port}"`)) resolve();
      });
    });
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

async function healthOf(proxyId: string): Promise<string | undefined> {
  const { events } = await lab.log.readLog(0, { types: ['ProxyHealthChanged'] });
  return ofType(events, 'ProxyHealthChanged').findLast(({ data }) => data.proxyId === proxyId)?.data.health;
}

test('a slow proxy is passed over for faster ones, and a sick one is ended and never chosen', async () => {
  const first = await backup('three');
  expect(first.candidates.map(({ state, chosen }) => [state, chosen])).toEqual(Array(3).fill(['new', true]));
  const [slow = '', sick = '', sound = ''] = first.proxies.map(({ proxyId }) => proxyId);

  const speedUp = slowDown(await processOf(slow));
  await backup('three');
  const speeds = await lastSpeeds();
  expect(speeds.get(slow)).toBeLessThan(0.6 * Math.min(speeds.get(sick) ?? 0, speeds.get(sound) ?? 0));

  const third = await backup('two');
  speedUp();
  expect(third.proxies.map(({ proxyId }) => proxyId).sort()).toEqual([sick, sound].sort());
  expect(third.candidates.find(({ proxyId }) => proxyId === slow)).toMatchObject({ chosen: false, rank: 3 });
  expect(third.rowOf(slow)).toMatch(/not needed.*slower for this VM: .*\/s against /);

  await eventually(
    `Proxy ${sick} being sick`,
    60_000,
    async () => {
      for (const port of [0, 1]) await killServer(sick, port).catch(() => undefined);
      return (await healthOf(sick)) === 'sick' ? true : undefined;
    },
    1_200,
  );
  const fourth = await backup('two');
  expect(fourth.proxies.map(({ proxyId }) => proxyId)).not.toContain(sick);
  expect(fourth.candidates.find(({ proxyId }) => proxyId === sick)).toMatchObject({
    chosen: false,
    preferred: true,
    reason: expect.stringMatching(/sick: .*server crashes/),
  });
  expect(fourth.rowOf(sick)).toMatch(/preferred, not had +gone +.*sick: server crashes \d+ in a minute/);
}, 240_000);

test('proxies of an older appliance go between runs where the host says so, and the next run boots the new one', async () => {
  const { proxies } = await backup('two');
  const old = proxies.map(({ proxyId }) => proxyId);
  await lab.renewAppliance();
  await lab.changeHostPolicy({ recycleOldAppliance: true });
  const reasons = await eventually(`The end of ${old.join(' and ')}`, 60_000, async () => {
    const { events } = await lab.log.readLog(0, { types: ['ProxyDeactivated'] });
    const gone = ofType(events, 'ProxyDeactivated').filter(({ data }) => old.includes(data.proxyId));
    return gone.length === old.length ? gone.map(({ data }) => data.reason) : undefined;
  });
  for (const reason of reasons)
    expect(reason).toMatch(/^it was booted from appliance (\S+), and the host has (?!\1)\S+ now$/);
  const after = await backup('two');
  expect(after.proxies.map(({ shared }) => shared)).toEqual([false, false]);
}, 240_000);
