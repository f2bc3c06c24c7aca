/**
 * Rows M2, M5, M6, M7, M8, M10 and M11 with real proxy VMs: source VMs that keep writing, disks frozen under them, hot-added to proxies that
 * boot for the purpose, read through their ports, restored and held against the instant.
 */
import { lastRecordOf } from '@backhaul/appliance';
import type { Recorded } from '@backhaul/contracts';
import { KiB, MiB } from '@backhaul/kernel';
import type { WritingVm } from '@backhaul/local';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyOf, sha256Of } from './disk-image.ts';
import {
  everythingWasGivenBack,
  nothingWasReadTwice,
  nothingWasWrittenTwice,
  ofType,
  portsWereExclusive,
} from './log-checks.ts';
import { openQemuLab, type QemuLab } from './qemu-lab.ts';

const DISKS = ['vda', 'vdb'] as const;
let lab: QemuLab;
let web: WritingVm;
/** The newest restore point of `web` whose instant is known. */
let known: { backupId: string; truth: Record<string, string> };

beforeAll(async () => {
  lab = await openQemuLab();
  await lab.definePolicy('proxies', {
    childJobBytes: 8 * MiB,
    maxPortsPerProxy: 2,
    maxChildJobsPerProxy: 2,
    maxProxiesPerHost: 2,
    fullThresholdBytes: 16 * MiB,
    incrementalThresholdBytes: 64 * MiB,
    proxyIdleSeconds: 60,
    recoveryThresholdBytes: 16 * MiB,
    maxStreamsPerDisk: 1,
  });
  web = await lab.vm('web', {
    pauseMilliseconds: 150,
    disks: [
      { diskId: 'vda', sizeBytes: 128 * MiB, random: [[8 * MiB, 40 * MiB]] },
      { diskId: 'vdb', sizeBytes: 32 * MiB, random: [[16 * MiB, 8 * MiB]] },
    ],
  });
}, 300_000);
afterAll(() => lab?.close());

async function restoredDigests(backupId: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const diskId of DISKS) digests[diskId] = await sha256Of(await lab.restore(backupId, diskId));
  return digests;
}

/** What the guest can have changed from one restore point to the next: a cluster of each disk per record, and the journals. */
async function changedAtMost(from: string, to: string): Promise<number> {
  const recordsOf = async (backupId: string) => await lastRecordOf(await lab.restore(backupId, 'vda'));
  const records = (await recordsOf(to)) - (await recordsOf(from)) + 1;
  return DISKS.length * (records * 64 * KiB + MiB);
}

test('a full of a VM that keeps writing goes through two proxy VMs in waves, and restores to the frozen instant', async () => {
  const { backupId, truth } = await lab.backupOfKnownInstant(web, DISKS, { policy: 'proxies' });
  const before = await web.writes();
  expect(await lab.ended(backupId, 120_000)).toMatchObject({
    type: 'BackupCompleted',
    data: { kind: 'full', mode: 'proxy-vm' },
  });
  await lab.closed(backupId);
  // The guest went on all the time, and what Backhaul had put into its VM is gone.
  expect(await web.status()).toBe('running');
  expect(await web.writes()).toBeGreaterThan(before);
  expect(await web.leftovers()).toEqual([]);

  const story = await lab.story(backupId);
  expect(ofType(story, 'ProxiesActivated')[0]?.data.proxies).toHaveLength(2);
  expect(Math.max(...ofType(story, 'PortsLeased').map(({ data }) => data.wave))).toBeGreaterThan(1);
  expect(portsWereExclusive(story)).toBe(4);
  expect(new Set(ofType(story, 'PortsLeased').map(({ data }) => data.proxyId)).size).toBe(2);
  expect(ofType(story, 'SnapshotTaken')[0]?.data).toMatchObject({
    consistency: { level: 'crash', reason: expect.stringMatching(/agent/) },
  });
  nothingWasReadTwice(story);
  everythingWasGivenBack(story);
  expect(await restoredDigests(backupId)).toEqual(truth);
  known = { backupId, truth };
});

test.each([
  ['direct-to-host', {}],
  ['proxy-vm', { mode: 'proxy-vm' }],
])(
  'an incremental by %s reads what was written since and restores to its own instant',
  async (mode, more) => {
    await web.hasWritten((await web.writes()) + 40);
    const { backupId, truth } = await lab.backupOfKnownInstant(web, DISKS, { policy: 'proxies', ...more });
    expect(await lab.ended(backupId, 120_000)).toMatchObject({
      type: 'BackupCompleted',
      data: { kind: 'incremental', mode },
    });
    await lab.closed(backupId);
    const story = await lab.story(backupId);
    const read = ofType(story, 'ChildJobCompleted').reduce((sum, { data }) => sum + data.readBytes, 0);
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThanOrEqual(await changedAtMost(known.backupId, backupId));
    nothingWasReadTwice(story);
    everythingWasGivenBack(story);
    expect(await restoredDigests(backupId)).toEqual(truth);
    expect(await web.leftovers()).toEqual([]);
    known = { backupId, truth };
  },
);

test('a proxy VM killed while child jobs read through its channels: the rest goes another way, nothing is read twice', async () => {
  // So slowly that it is in the middle of it, however fast the machine is.
  await lab.changeHostPolicy({ bytesPerSecond: 8 * MiB });
  const { backupId, truth } = await lab.backupOfKnownInstant(web, DISKS, { policy: 'proxies', kind: 'full' });
  await lab.until(backupId, 'ChunkReceived', 2);
  const [lease] = ofType(await lab.story(backupId), 'PortsLeased');
  await lab.killProxy(lease?.data.proxyId ?? '');
  await lab.changeHostPolicy({ bytesPerSecond: null });
  expect((await lab.ended(backupId, 180_000)).type).toBe('BackupCompleted');
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  nothingWasReadTwice(story);
  everythingWasGivenBack(story);
  expect(await restoredDigests(backupId)).toEqual(truth);
  const lost = ofType((await lab.log.readLog(0, { types: ['ProxyLost'] })).events, 'ProxyLost');
  expect(lost.map(({ data }) => data.proxyId)).toEqual([lease?.data.proxyId]);
  known = { backupId, truth };
});

test('disks of a VM that is not held still are frozen at one instant: no disk is ahead of the other', async () => {
  const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
  expect((await lab.ended(backupId, 120_000)).type).toBe('BackupCompleted');
  await lab.closed(backupId);
  const [first = 0, second = 0] = await Promise.all(
    DISKS.map(async (diskId) => lastRecordOf(await lab.restore(backupId, diskId))),
  );
  expect(first).toBeGreaterThan(20);
  // The guest writes each record to vda before vdb.
  expect([first, first - 1]).toContain(second);
  const [taken] = ofType(await lab.story(backupId), 'SnapshotTaken');
  expect(taken?.data.pauseMilliseconds).toBeGreaterThan(0);
  expect(taken?.data.pauseMilliseconds).toBeLessThan(5000);
});

test('a second VM is backed up through the proxies of the first', async () => {
  await lab.vm('db', {
    // Without a pause it would take a processor for itself, from here to the end.
    pauseMilliseconds: 150,
    disks: [{ diskId: 'vda', sizeBytes: 64 * MiB, random: [[8 * MiB, 24 * MiB]] }],
  });
  const [one, other] = await Promise.all([
    lab.backup('web', { policy: 'proxies', kind: 'full' }),
    lab.backup('db', { policy: 'proxies', kind: 'full' }),
  ]);
  for (const backupId of [one, other]) {
    expect((await lab.ended(backupId, 180_000)).type).toBe('BackupCompleted');
    await lab.closed(backupId);
  }
  const proxiesOf = async (backupId: string) =>
    new Set(ofType(await lab.story(backupId), 'PortsLeased').map(({ data }) => data.proxyId));
  expect((await proxiesOf(one)).intersection(await proxiesOf(other)).size).toBeGreaterThan(0);
  portsWereExclusive(
    [...(await lab.story(one)), ...(await lab.story(other))].sort((a, b) => a.position - b.position),
  );
  expect(await lastRecordOf(await lab.restore(other, 'vda'))).toBeGreaterThan(0);
});

test('a VM is recovered through a proxy VM that serves a backup too, starts, and is backed up itself', async () => {
  const recoveryId = await lab.recover(known.backupId, 'web-2', { policy: 'proxies', start: true });
  await lab.until(recoveryId, 'PortsLeased', 1);
  const beside = await lab.backup('db', { policy: 'proxies', kind: 'full' });
  // Two of one VM at once: the second waits for its turn, and builds on the first.
  const behind = await lab.backup('db', { policy: 'proxies' });
  expect(await lab.ended(recoveryId, 180_000)).toMatchObject({
    type: 'RecoveryCompleted',
    data: { mode: 'proxy-vm', started: true, notStarted: null },
  });
  try {
    expect((await lab.ended(beside, 120_000)).type).toBe('BackupCompleted');
    expect(await lab.ended(behind, 120_000)).toMatchObject({
      type: 'BackupCompleted',
      data: { kind: 'incremental' },
    });
    expect(ofType(await lab.story(behind), 'BackupQueued')[0]?.data).toMatchObject({ behind: beside });
    await Promise.all([recoveryId, beside, behind].map((runId) => lab.closed(runId)));
    const both = [...(await lab.story(recoveryId)), ...(await lab.story(beside))].sort(
      (a, b) => a.position - b.position,
    );
    portsWereExclusive(both);
    nothingWasWrittenTwice(both);
    everythingWasGivenBack(both);
    expect(proxiesThatHeldDisksOf([recoveryId, beside], both)).not.toEqual([]);
    for (const diskId of DISKS) {
      const copy = lab.imageOf('web-2', diskId);
      await copyOf(lab.recoveredDisk('web-2', diskId), copy, { despiteLock: true });
      expect(await sha256Of(copy)).toBe(known.truth[diskId]);
    }
    const ofRecovered = await lab.backup('web-2', { policy: 'proxies' });
    expect((await lab.ended(ofRecovered, 120_000)).type).toBe('BackupCompleted');
    await lab.closed(ofRecovered);
  } finally {
    await lab.quit('web-2');
  }
});

/** Proxies to which disks of all these runs were attached at one moment. */
function proxiesThatHeldDisksOf(runIds: readonly string[], events: readonly Recorded[]): string[] {
  const attached = new Map<string, Set<string>>();
  const found = new Set<string>();
  for (const { type, data } of events) {
    if (type !== 'DiskAttached' && type !== 'DiskDetached') continue;
    const disks = attached.get(data.proxyId) ?? new Set();
    attached.set(data.proxyId, disks);
    const key = `${data.runId} ${data.diskId}`;
    if (type === 'DiskDetached') disks.delete(key);
    else disks.add(key);
    if (runIds.every((runId) => [...disks].some((disk) => disk.startsWith(runId)))) found.add(data.proxyId);
  }
  return [...found];
}
