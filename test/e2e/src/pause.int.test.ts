/**
 * A backup and a recovery that are paused in the middle: proxies and ports are others' meanwhile, the point in time stays, and what was
 * confirmed before is neither read nor written again. Whatever is killed while it stands still.
 */
import type { Recorded, Service } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { type Lab, openLab } from './lab.ts';
import {
  everythingWasGivenBack,
  nothingWasReadTwice,
  nothingWasWrittenTwice,
  ofType,
  openIn,
  portsWereExclusive,
} from './log-checks.ts';

/** 64 pieces of 4 MiB in one child job, two of them in memory at a time: it takes long enough to be met in the middle. */
const DATA = 256 * MiB;
let lab: Lab;
let sourceHash: string;

beforeAll(async () => {
  lab = await openLab({
    environment: { BACKHAUL_CHUNK_BUFFERS: '2', BACKHAUL_EXPORT_JOBS_AT_ONCE: '1' },
  });
  await makeImage(lab.image('web.qcow2'), 320 * MiB);
  await writeRandom(lab.image('web.qcow2'), 32 * MiB, DATA);
  await makeImage(lab.image('other.qcow2'), 32 * MiB);
  await writeRandom(lab.image('other.qcow2'), 0, 16 * MiB);
  sourceHash = await sha256Of(await copyOf(lab.image('web.qcow2'), lab.image('../web.copy')));
  await lab.definePolicy('one-port', {
    childJobBytes: 512 * MiB,
    maxPortsPerProxy: 1,
    maxProxiesPerHost: 1,
    maxDisksPerProxy: 1,
    maxStreamsPerDisk: 1,
    fullThresholdBytes: 1 * MiB,
    recoveryThresholdBytes: 1 * MiB,
    proxyIdleSeconds: 30,
  });
});
afterAll(() => lab?.close());

const order = (name: string, of: Record<string, string>) =>
  lab.ask(name, { ...of, reason: 'the host is busy', requestedBy: 'ops' });

/** It holds nothing but this any more. */
const holdsOnly = (runId: string, hold: string): Promise<true> =>
  eventually(`Run ${runId} holding ${hold} alone`, 30_000, async () => {
    const story = await lab.story(runId);
    if (ofType(story, 'RunPaused').length === 0) return undefined;
    return openIn(story).join() === hold ? true : undefined;
  });

/** As the console tells of it; `known` is what is waited for. */
async function told(path: string, known: (answer: string) => boolean): Promise<string> {
  return await eventually(`The console telling of ${path}`, 15_000, async () => {
    const answer = await (await lab.fetch('console', path)).text();
    return known(answer) ? answer : undefined;
  });
}

const bytesOf = (story: readonly Recorded[]): number =>
  ofType(story, 'ChunkReceived').reduce((sum, { data }) => sum + data.readBytes, 0);

async function startBackup(): Promise<string> {
  const backupId = await lab.backup('web', { policy: 'one-port', kind: 'full' });
  await lab.until(backupId, 'ChunkReceived', 4);
  return backupId;
}

async function completesWithoutReadingTwice(backupId: string): Promise<Recorded[]> {
  expect(await lab.ended(backupId, 90_000)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  nothingWasReadTwice(story);
  portsWereExclusive(story);
  everythingWasGivenBack(story);
  expect(bytesOf(story)).toBe(DATA);
  expect(ofType(story, 'SnapshotTaken').map(({ data }) => data.takenAt)).toHaveLength(1);
  expect(await sha256Of(await lab.restore(backupId, 'web'))).toBe(sourceHash);
  return story;
}

describe('a backup that is paused in mid-read', () => {
  test('leaves its only proxy to another, outlives kill -9 of every service, and goes on from where it stood', async () => {
    const backupId = await startBackup();
    expect(await order('BackupPauseRequested', { backupId })).toMatchObject({ outcome: 'accepted' });
    await holdsOnly(backupId, 'snapshot');
    await told(`/api/v1/backups/${backupId}`, (answer) =>
      /"state":"paused","stage":"transferring"/.test(answer),
    );
    await told(`/api/v1/obligations?run=${backupId}`, (answer) =>
      answer.includes('Snapshot of VM web, kept for its paused run'),
    );

    const other = await lab.backup('other', { policy: 'one-port', kind: 'full' });
    expect((await lab.ended(other)).type).toBe('BackupCompleted');
    await lab.closed(other);
    const [standing, otherStory] = [await lab.story(backupId), await lab.story(other)];
    const proxyOf = (story: readonly Recorded[]) => ofType(story, 'PortsLeased')[0]?.data.proxyId;
    expect(proxyOf(otherStory)).toBe(proxyOf(standing));
    const before = bytesOf(standing);
    expect(before).toBeGreaterThanOrEqual(16 * MiB);
    expect(before).toBeLessThan(DATA);

    const services: Service[] = ['trigger', 'planner', 'proxy-manager', 'ingest', 'console'];
    for (const name of services) await lab.stack.services.get(name)?.kill();
    for (const name of services) await lab.stack.services.get(name)?.start();
    await order('BackupResumeRequested', { backupId });
    const story = await completesWithoutReadingTwice(backupId);
    // What stood still was not read on meanwhile, and is not read again: the count is on the record.
    const [first, second] = ofType(story, 'ChildJobStarted');
    expect([first?.data.resumedBytes, (second?.data.resumedBytes ?? 0) >= before]).toEqual([0, true]);
    expect(ofType(story, 'ChildJobInterrupted')).toEqual([]);
    portsWereExclusive([...story, ...otherStory].sort((a, b) => a.position - b.position));
  });

  test('while no ingest is there to hear of it: the one that starts later begins nothing before it goes on', async () => {
    const backupId = await startBackup();
    const ingest = lab.stack.services.get('ingest');
    await ingest?.kill();
    const before = bytesOf(await lab.story(backupId));
    await order('BackupPauseRequested', { backupId });
    await holdsOnly(backupId, 'snapshot');
    await ingest?.start();
    // Its lease is told of again. Another backup comes after it in the same line, and is carried out.
    const other = await lab.backup('other', { policy: 'one-port', kind: 'full' });
    expect((await lab.ended(other)).type).toBe('BackupCompleted');
    expect(bytesOf(await lab.story(backupId))).toBe(before);
    await order('BackupResumeRequested', { backupId });
    await completesWithoutReadingTwice(backupId);
  });

  test('pauses and goes on again and again: no attempt is held against it', async () => {
    const backupId = await startBackup();
    for (let times = 0; times < 4; times += 1) {
      await order('BackupPauseRequested', { backupId });
      await order('BackupResumeRequested', { backupId });
    }
    await completesWithoutReadingTwice(backupId);
  });
});

test('a backup that is paused before it is planned is planned when it goes on', async () => {
  const first = await startBackup();
  const backupId = await lab.backup('web', { policy: 'one-port', kind: 'full' });
  await order('BackupPauseRequested', { backupId });
  await lab.ended(first, 90_000);
  await lab.until(backupId, 'BackupTriggered', 1);
  await told(`/api/v1/backups/${backupId}`, (answer) => /"state":"paused","stage":"triggered"/.test(answer));
  expect(ofType(await lab.story(backupId), 'ProxiesCalculated')).toEqual([]);
  await order('BackupResumeRequested', { backupId });
  await completesWithoutReadingTwice(backupId);
});

test('a recovery that is paused in mid-write keeps its disks, and writes nothing again that was confirmed', async () => {
  const backupId = await lab.backup('web', { policy: 'one-port', kind: 'full' });
  await lab.ended(backupId, 90_000);
  const recoveryId = await lab.recover(backupId, 'web-2', { policy: 'one-port' });
  await lab.until(recoveryId, 'ChunkExported', 1);
  await order('RecoveryPauseRequested', { recoveryId });
  await holdsOnly(recoveryId, 'target');
  for (const name of ['export', 'proxy-manager'] as const) await lab.stack.services.get(name)?.kill();
  for (const name of ['export', 'proxy-manager'] as const) await lab.stack.services.get(name)?.start();
  await order('RecoveryResumeRequested', { recoveryId });
  expect(await lab.ended(recoveryId, 90_000)).toMatchObject({ type: 'RecoveryCompleted' });
  await lab.closed(recoveryId);
  const story = await lab.story(recoveryId);
  nothingWasWrittenTwice(story);
  portsWereExclusive(story);
  everythingWasGivenBack(story);
  expect(ofType(story, 'ExportJobInterrupted')).toEqual([]);
  const recovered = await copyOf(lab.image('web-2/web.qcow2'), lab.image('../compared.copy'));
  expect(await sha256Of(recovered)).toBe(sourceHash);
});
