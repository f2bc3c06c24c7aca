/** What a host may carry, kept to by the whole stack: bytes per second of a backup and of a recovery, and snapshots open at once. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeImage, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType } from './log-checks.ts';

const DATA = 96 * MiB;
const LIMIT = 16 * MiB;
let lab: Lab;

beforeAll(async () => {
  lab = await openLab();
  for (const vm of ['one', 'two']) {
    await makeImage(lab.image(`${vm}.qcow2`), 128 * MiB);
    await writeRandom(lab.image(`${vm}.qcow2`), 0, DATA);
  }
  await lab.definePolicy('proxies', { fullThresholdBytes: MiB, recoveryThresholdBytes: MiB });
});
afterAll(() => lab?.close());

/** From the first child job's start to the last one's end. */
function secondsMoving(story: readonly Recorded[]): number {
  const began = [...ofType(story, 'ChildJobStarted'), ...ofType(story, 'ExportJobStarted')];
  const ended = [...ofType(story, 'ChildJobCompleted'), ...ofType(story, 'ExportJobCompleted')];
  const at = (events: readonly Recorded[]) => events.map(({ recordedAt }) => Date.parse(recordedAt));
  return (Math.max(...at(ended)) - Math.min(...at(began))) / 1000;
}

async function queue(): Promise<consoleApi.QueueView[]> {
  const answer = await fetch(`${lab.stack.consoleUrl}/api/v1/queue?host=${HOST}`);
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
