/**
 * `kill -9` of every service, and of NATS, in the middle of a backup: the same backup completes, what was received is not
 * received again, and the restored bytes are right. The log of all of it obeys the same rules as an undisturbed run.
 */
import type { Service } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, nothingWasReadTwice, ofType, portsWereExclusive } from './log-checks.ts';

/** 24 pieces of 4 MiB in 12 child jobs, two at a time. */
const DATA = 96 * MiB;
let lab: Lab;
let sourceHash: string;

beforeAll(async () => {
  lab = await openLab();
  await makeImage(lab.image('web.qcow2'), 160 * MiB);
  await writeRandom(lab.image('web.qcow2'), 32 * MiB, DATA);
  sourceHash = await sha256Of(await copyOf(lab.image('web.qcow2'), lab.image('../web.copy')));
  await lab.definePolicy('proxies', {
    childJobBytes: 8 * MiB,
    maxPortsPerProxy: 2,
    maxChildJobsPerProxy: 2,
    maxProxiesPerHost: 1,
    fullThresholdBytes: 1 * MiB,
    proxyIdleSeconds: 5,
  });
  await lab.definePolicy('one-job', { childJobBytes: 512 * MiB, fullThresholdBytes: 1 * MiB });
});
afterAll(() => lab?.close());

const moments = {
  'when it was just requested': async () => undefined,
  'when proxies are being activated': (backupId: string) => lab.until(backupId, 'ActivationRequested', 1),
  'when chunks arrive': (backupId: string) => lab.until(backupId, 'ChunkReceived', 8),
  'when its first child jobs are done': (backupId: string) => lab.until(backupId, 'ChildJobCompleted', 3),
};
type Moment = keyof typeof moments;
const all = Object.keys(moments) as Moment[];

/** Who takes part from the request to the end is killed at every moment; the others while they have a part, and once when they have none. */
const kills: readonly (readonly [Service, readonly Moment[]])[] = [
  ['trigger', ['when it was just requested', 'when proxies are being activated', 'when chunks arrive']],
  ['planner', ['when it was just requested', 'when proxies are being activated']],
  ['proxy-manager', all],
  ['ingest', all],
  ['console', ['when it was just requested', 'when chunks arrive']],
];

async function completesAsIfNothingHadHappened(backupId: string): Promise<void> {
  expect(await lab.ended(backupId, 90_000)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  nothingWasReadTwice(story);
  portsWereExclusive(story);
  everythingWasGivenBack(story);
  const received = ofType(story, 'ChunkReceived').reduce((sum, { data }) => sum + data.readBytes, 0);
  expect(received).toBe(DATA);
  expect(await sha256Of(await lab.restore(backupId, 'web'))).toBe(sourceHash);
}

describe.each(kills)('kill -9 of %s', (name, momentsOfIt) => {
  test.each(momentsOfIt)('%s', async (moment) => {
    const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
    await moments[moment](backupId);
    const service = lab.stack.services.get(name);
    await service?.kill();
    await service?.start();
    await completesAsIfNothingHadHappened(backupId);
  });
});

test('what an ingest had received before it was killed is resumed, not read again: the count is on the record', async () => {
  // Slow enough that it is killed before it has all of them.
  await lab.changeHostPolicy({ bytesPerSecond: 16 * MiB });
  const backupId = await lab.backup('web', { policy: 'one-job', kind: 'full' });
  await lab.until(backupId, 'ChunkReceived', 8);
  const ingest = lab.stack.services.get('ingest');
  await ingest?.kill();
  const before = ofType(await lab.story(backupId), 'ChunkReceived').length;
  await ingest?.start();
  await lab.changeHostPolicy({ bytesPerSecond: null });
  await completesAsIfNothingHadHappened(backupId);
  const resumed = ofType(await lab.story(backupId), 'ChildJobStarted').reduce(
    (sum, { data }) => sum + data.resumedBytes,
    0,
  );
  expect(before).toBeGreaterThanOrEqual(8);
  expect(resumed).toBeGreaterThan(0);
});

describe('NATS', () => {
  test.each(all)('killed and started again %s', async (moment) => {
    const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
    await moments[moment](backupId);
    await lab.stack.nats?.kill();
    await lab.stack.nats?.restart();
    await completesAsIfNothingHadHappened(backupId);
  });

  test('killed and wiped in mid-backup: it is refilled from Postgres, and no finished backup runs again', async () => {
    const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
    await lab.until(backupId, 'ChunkReceived', 8);
    await lab.stack.nats?.kill();
    await lab.stack.nats?.wipe();
    await lab.stack.nats?.restart();
    await completesAsIfNothingHadHappened(backupId);
    const page = await lab.log.readLog(0, { types: ['BackupTriggered', 'BackupCompleted'], limit: 10_000 });
    const triggered = ofType(page.events, 'BackupTriggered').length;
    expect(ofType(page.events, 'BackupCompleted')).toHaveLength(triggered);
  });
});

test('a proxy process killed in mid-backup costs only what had not been received', async () => {
  const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
  await lab.until(backupId, 'ChunkReceived', 8);
  const [lease] = ofType(await lab.story(backupId), 'PortsLeased');
  await lab.killProxy(lease?.data.proxyId ?? '');
  await completesAsIfNothingHadHappened(backupId);
  const story = await lab.story(backupId);
  expect(ofType(story, 'PortsReleased').some(({ data }) => data.because !== 'completed')).toBe(true);
});
