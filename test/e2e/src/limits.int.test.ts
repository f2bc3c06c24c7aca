/**
 * What a host may carry, and all hosts together, kept to by the whole stack: bytes per second of backups and recoveries, snapshots open at
 * once, runs at work; and who is first where not all can be.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { consoleApi, Recorded } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeImage, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType } from './log-checks.ts';

const DATA = 96 * MiB;
const LIMIT = 16 * MiB;
const SECOND_HOST = 'annex';
let own: string;
let lab: Lab;

beforeAll(async () => {
  own = await mkdtemp(join(tmpdir(), 'bl-'));
  const hosts = [HOST, SECOND_HOST].map((hostId) => ({
    ...{ hostId, kind: 'directory' as const, address: join(own, hostId) },
  }));
  for (const { address } of hosts) await mkdir(address);
  lab = await openLab({ hosts });
  for (const vm of ['one', 'two']) {
    await makeImage(join(own, HOST, `${vm}.qcow2`), 128 * MiB);
    await writeRandom(join(own, HOST, `${vm}.qcow2`), 0, DATA);
  }
  for (const place of [`${HOST}/small`, `${HOST}/late`, `${SECOND_HOST}/far`]) {
    await makeImage(join(own, `${place}.qcow2`), 64 * MiB);
    await writeRandom(join(own, `${place}.qcow2`), 0, 32 * MiB);
  }
  await lab.definePolicy('proxies', { fullThresholdBytes: MiB, recoveryThresholdBytes: MiB });
});
afterAll(async () => {
  await lab?.close();
  await rm(own, { recursive: true, force: true });
});

/** From the first child job's start to the last one's end. */
function secondsMoving(...stories: readonly (readonly Recorded[])[]): number {
  const story = stories.flat();
  const began = [...ofType(story, 'ChildJobStarted'), ...ofType(story, 'ExportJobStarted')];
  const ended = [...ofType(story, 'ChildJobCompleted'), ...ofType(story, 'ExportJobCompleted')];
  const at = (events: readonly Recorded[]) => events.map(({ recordedAt }) => Date.parse(recordedAt));
  return (Math.max(...at(ended)) - Math.min(...at(began))) / 1000;
}

async function queue(): Promise<consoleApi.QueueView[]> {
  const answer = await lab.fetch('console', `/api/v1/queue?host=${HOST}`);
  return ((await answer.json()) as { items: consoleApi.QueueView[] }).items;
}

test('a backup and a recovery move no more bytes a second than their host may', async () => {
  await lab.changeHostPolicy({ bytesPerSecond: LIMIT });
  const backupId = await lab.backup('one', { policy: 'proxies', kind: 'full' });
  expect(await lab.ended(backupId)).toMatchObject({ type: 'BackupCompleted' });
  const reading = secondsMoving(await lab.story(backupId));
  expect(reading).toBeGreaterThan(DATA / LIMIT / 1.1);
  expect(reading).toBeLessThan((DATA / LIMIT) * 2);

  const recoveryId = await lab.recover(backupId, 'one-again', { policy: 'proxies' });
  expect(await lab.ended(recoveryId)).toMatchObject({ type: 'RecoveryCompleted' });
  expect(secondsMoving(await lab.story(recoveryId))).toBeGreaterThan(DATA / LIMIT / 1.1);
  await lab.closed(recoveryId);
});

test('one snapshot at a time: the second backup waits, says for what, and begins when the limit is lifted', async () => {
  await lab.changeHostPolicy({ maxOpenSnapshots: 1 });
  await eventually('The host taking the limit up', 10_000, async () => {
    const { events } = await lab.log.readLog(0, { types: ['HostPolicyAdopted'] });
    return events.length >= 2 ? true : undefined;
  });
  const first = await lab.backup('one', { policy: 'proxies', kind: 'full' });
  await lab.until(first, 'SnapshotTaken', 1);
  const second = await lab.backup('two', { policy: 'proxies', kind: 'full' });
  const waiting = await eventually('The queue telling of it', 15_000, async () =>
    (await queue()).find(({ runId }) => runId === second),
  );
  expect(waiting).toMatchObject({
    ...{ vmId: 'two', priority: 'normal', waitsFor: 'leave to begin', place: 1, of: 1 },
    because: '1 of at most 1 snapshots are open on host lab',
  });
  expect(ofType(await lab.story(second), 'SnapshotRequested')).toEqual([]);

  await lab.changeHostPolicy({ maxOpenSnapshots: null, bytesPerSecond: null });
  const lifted = Date.now();
  await lab.until(second, 'SnapshotRequested', 1);
  expect(Date.now() - lifted).toBeLessThan(5_000);
  for (const runId of [first, second]) {
    expect(await lab.ended(runId)).toMatchObject({ type: 'BackupCompleted' });
    await lab.closed(runId);
    everythingWasGivenBack(await lab.story(runId));
  }
  expect(await queue()).toEqual([]);
});

test('two hosts together move no more bytes a second than the deployment may', async () => {
  const limit = (bytesPerSecond: number | null) =>
    lab.ask('DeploymentPolicyRequested', { changes: { bytesPerSecond } });
  expect(await limit(8 * MiB)).toMatchObject({ outcome: 'accepted' });
  const near = await lab.backup('small', { policy: 'proxies', kind: 'full' });
  const far = await lab.backup('far', { host: SECOND_HOST, policy: 'proxies', kind: 'full' });
  for (const backupId of [near, far]) {
    expect(await lab.ended(backupId)).toMatchObject({ type: 'BackupCompleted' });
    await lab.closed(backupId);
  }
  const [ofNear, ofFar] = [await lab.story(near), await lab.story(far)];
  expect(secondsMoving(ofNear, ofFar)).toBeGreaterThan(64 / 8 / 1.1);
  // Each had its share: neither waited for the other to end.
  expect(secondsMoving(ofNear)).toBeGreaterThan(secondsMoving(ofNear, ofFar) / 2);
  expect(await limit(null)).toMatchObject({ outcome: 'accepted' });
});

test('one run at a time: what is urgent begins before what has waited longer', async () => {
  await lab.changeHostPolicy({ maxRuns: 1, bytesPerSecond: LIMIT });
  const first = await lab.backup('one', { policy: 'proxies', kind: 'full' });
  await lab.until(first, 'ChunkReceived', 1);
  const patient = await lab.backup('small', { policy: 'proxies', kind: 'full' });
  const low = await lab.backup('two', { policy: 'proxies', kind: 'full', priority: 'low' });
  await lab.until(low, 'ActivationRequested', 1);
  const urgent = await lab.backup('late', { policy: 'proxies', kind: 'full', priority: 'urgent' });
  await lab.until(urgent, 'ActivationRequested', 1);
  await eventually('The queue in its order', 10_000, async () => {
    const waiting = (await queue()).map(({ runId, place }) => `${place} ${runId}`);
    return waiting.join() === `1 ${urgent},2 ${patient},3 ${low}` ? true : undefined;
  });
  await lab.changeHostPolicy({ bytesPerSecond: null });
  const runs = [first, urgent, patient, low];
  for (const runId of runs) expect(await lab.ended(runId)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(low);
  const { events } = await lab.log.readLog(0, { types: ['SnapshotRequested', 'SnapshotReleased'] });
  const taken = ofType(events, 'SnapshotRequested').map(({ data }) => data.runId);
  expect(taken.slice(-4)).toEqual(runs);
  await lab.changeHostPolicy({ maxRuns: null });
});
