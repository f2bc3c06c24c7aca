import type { EventType, Recorded } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { explain } from '../explain.ts';
import { projected } from '../projection.ts';
import { backupIdOf, backupStory, recorded, teller } from '../testing/story.ts';
import { backups } from './backups.ts';
import { childJobs } from './child-jobs.ts';
import { obligations } from './obligations.ts';

const backupId = backupIdOf('b1');
const of = { backupId, hostId: 'lab', vmId: 'web-1' };
const whole = recorded(backupStory({ name: 'b1' }));
const until = (type: string): Recorded[] =>
  whole.slice(0, whole.findIndex((event) => event.type === type) + 1);
const at = '2026-01-01T02:00:00.000Z';

/** What is said after the story so far. */
function then(...said: [type: EventType, data: object][]): Recorded[] {
  const tell = teller(backupId);
  for (const [type, data] of said) tell.append('backup', backupId, type, data as never);
  return recorded(tell.told, 5000);
}
const paused: [EventType, object] = [
  'BackupPaused',
  { ...of, number: 1, pausedBy: 'anna', reason: 'the host is busy', pausedAt: at },
];
const resumed: [EventType, object] = [
  'BackupResumed',
  { ...of, number: 2, resumedBy: 'anna', reason: 'it is night', resumedAt: at },
];
const cancelOrdered: [EventType, object] = [
  'BackupCancelOrdered',
  { ...of, cancelledBy: 'anna', reason: 'wrong VM', orderedAt: at },
];
const failed: [EventType, object] = [
  'BackupFailed',
  { ...of, refusal: { code: 'BackupCancelled', message: 'It was cancelled.' }, failedAt: at },
];
const run = { hostId: 'lab', runId: backupId, purpose: 'backup' };
const row = (...story: Recorded[][]) => projected(backups, story.flat())[0];

test('a paused backup says so, and by whom and why; how far it is moves on beneath', () => {
  const standing = row(until('BackupTriggered'), then(paused));
  expect(standing).toMatchObject({
    ...{ state: 'paused', stage: 'triggered', pausedAt: at, pauseReason: 'anna: the host is busy' },
  });
  const planned = whole
    .slice(until('BackupTriggered').length, until('ProxiesCalculated').length)
    .map((event, index) => ({ ...event, position: 6000 + index }));
  expect(row(until('BackupTriggered'), then(paused), planned)).toMatchObject({
    ...{ state: 'paused', stage: 'planned' },
  });
  expect(row(until('ProxiesActivated'), then(paused, resumed))).toMatchObject({
    ...{ state: 'transferring', stage: 'transferring', pausedAt: null, pauseReason: null },
  });
});

test('one that was ordered to end is ending, and then cancelled: it has not failed', () => {
  expect(row(until('ProxiesActivated'), then(paused, cancelOrdered))).toMatchObject({
    ...{ state: 'cancelling', stage: 'transferring' },
  });
  expect(row(until('ProxiesActivated'), then(paused, cancelOrdered, failed))).toMatchObject({
    ...{ state: 'cancelled', stage: 'cancelled', pausedAt: null },
    refusal: { code: 'BackupCancelled' },
  });
});

test('one that completed before it could be cancelled is completed', () => {
  const late = then(cancelOrdered).map((event) => ({ ...event, position: 1 }));
  const end = whole.slice(until('ProxiesActivated').length).map((event) => ({ ...event, position: 9000 }));
  expect(row(until('ProxiesActivated'), late, end)).toMatchObject({ state: 'completed' });
});

test('the snapshot of a paused backup is owed, and says why it stays', () => {
  const subjects = (...story: Recorded[][]) =>
    projected(obligations, story.flat()).flatMap(({ kind, subject }) =>
      kind === 'snapshot' ? [subject] : [],
    );
  expect(subjects(until('ProxiesActivated'))).toEqual(['Snapshot of VM web-1']);
  const still = then(['RunPaused', { ...run, number: 1 }]);
  expect(subjects(until('ProxiesActivated'), still)).toEqual([
    'Snapshot of VM web-1, kept for its paused run',
  ]);
  const on = then(['RunPaused', { ...run, number: 1 }], ['RunResumed', { ...run, number: 2 }]);
  expect(subjects(until('ProxiesActivated'), on)).toEqual(['Snapshot of VM web-1']);
});

test('a child job that was cut off by a pause waits again, and was not interrupted', () => {
  const started = whole.find(({ type }) => type === 'ChildJobStarted') as Recorded<'ChildJobStarted'>;
  const { hostId, childJobId, leaseId, proxyId, ports } = started.data;
  const released = { hostId, runId: backupId, childJobId, leaseId, proxyId, ports, because: 'paused' };
  const jobs = projected(childJobs, [...until('ChildJobStarted'), ...then(['PortsReleased', released])]);
  expect(jobs.find((job) => job.childJobId === childJobId)).toMatchObject({
    ...{ state: 'waiting', leaseId: null, interruptions: 0 },
  });
});

test('it is explained who paused it, who let it go on and who ended it', () => {
  const story = [...until('ProxiesActivated'), ...then(paused, resumed, cancelOrdered, failed)];
  expect(explain(backupId, story)?.lines.slice(-4)).toEqual([
    `Paused at ${at} by anna: the host is busy.`,
    `Resumed at ${at} by anna: it is night.`,
    `Ordered to end at ${at} by anna: wrong VM.`,
    expect.stringMatching(/^Cancelled: /),
  ]);
});
