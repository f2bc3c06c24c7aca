/**
 * A backup of a running VM through proxy VMs stands still in the middle while its guest writes on: its disks are unplugged from the proxies,
 * its instant stays what it was, and what comes out in the end is the disk of that instant. Or it is cancelled, and nothing of it is left.
 */
import { eventually, MiB } from '@backhaul/kernel';
import type { WritingVm } from '@backhaul/local';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Of } from './disk-image.ts';
import {
  everythingWasGivenBack,
  nothingWasReadTwice,
  ofType,
  openIn,
  portsWereExclusive,
} from './log-checks.ts';
import { openQemuLab, type QemuLab } from './qemu-lab.ts';

let lab: QemuLab;
let web: WritingVm;

beforeAll(async () => {
  lab = await openQemuLab();
  await lab.definePolicy('proxies', {
    childJobBytes: 64 * MiB,
    maxPortsPerProxy: 2,
    maxProxiesPerHost: 1,
    fullThresholdBytes: 1 * MiB,
    proxyIdleSeconds: 60,
  });
  web = await lab.vm('web', {
    disks: [{ diskId: 'vda', sizeBytes: 256 * MiB, random: [[8 * MiB, 240 * MiB]] }],
    pauseMilliseconds: 100,
  });
}, 300_000);
afterAll(() => lab?.close());

async function pausedInTheMiddle(): Promise<{ backupId: string; truth: Record<string, string> }> {
  const { backupId, truth } = await lab.backupOfKnownInstant(web, ['vda'], {
    policy: 'proxies',
    kind: 'full',
  });
  await lab.until(backupId, 'ChunkReceived', 4);
  await lab.ask('BackupPauseRequested', { backupId, reason: 'the host is busy' });
  await eventually('The backup holding its snapshot alone', 60_000, async () => {
    const story = await lab.story(backupId);
    return ofType(story, 'RunPaused').length > 0 && openIn(story).join() === 'snapshot' ? true : undefined;
  });
  return { backupId, truth };
}

test('paused while its guest writes on, a backup is of its first instant all the same', async () => {
  const { backupId, truth } = await pausedInTheMiddle();
  const before = ofType(await lab.story(backupId), 'ChunkReceived').length;
  await web.hasWritten((await web.writes()) + 20);
  expect(ofType(await lab.story(backupId), 'ChunkReceived')).toHaveLength(before);
  await lab.ask('BackupResumeRequested', { backupId });
  expect(await lab.ended(backupId, 180_000)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  nothingWasReadTwice(story);
  portsWereExclusive(story);
  everythingWasGivenBack(story);
  expect(await sha256Of(await lab.restore(backupId, 'vda'))).toBe(truth.vda);
  expect(await web.status()).toBe('running');
  expect(await web.leftovers()).toEqual([]);
});

test('paused and then cancelled it leaves nothing in the VM, and the guest writes on', async () => {
  const { backupId } = await pausedInTheMiddle();
  await lab.ask('BackupCancellationRequested', { backupId });
  expect(await lab.ended(backupId, 60_000)).toMatchObject({
    data: { refusal: { code: 'BackupCancelled' } },
  });
  await lab.closed(backupId);
  everythingWasGivenBack(await lab.story(backupId));
  await web.hasWritten((await web.writes()) + 4);
  expect(await web.leftovers()).toEqual([]);
});
