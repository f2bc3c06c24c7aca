/** A history of a host that is known: what is measured is what it was, and what is simulated of it is what happened. */
import { noHostPolicy } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { Chance } from './chance.ts';
import { calendarOf, hostsOf, workloadOf } from './described-workload.ts';
import { readFleet } from './fleet.ts';
import { History, readQuestion } from './history.ts';
import { recordedBy } from './recorded.fixture.ts';
import { paperHost, wholeVm } from './script.fixture.ts';
import { simulated } from './simulate.ts';

const start = Date.parse('2026-01-05T00:00:00Z');
const end = start + 3_600_000;

/** Three VMs of 32 GiB at midnight, one after the other through the two ports of one proxy. */
function known() {
  const fleet = readFleet({
    hosts: [paperHost],
    vms: [
      wholeVm('a', '32GiB'),
      wholeVm('b', '32GiB'),
      wholeVm('c', '32GiB', { schedules: [{ cron: '20 0 * * *' }] }),
    ],
  });
  if (!fleet.ok) throw new Error(fleet.refusal.message);
  const calendar = calendarOf(fleet.value, start, end);
  const [host] = hostsOf(fleet.value);
  if (!calendar.ok || host === undefined) throw new Error('There is one host');
  const ground = { start, end, calendar: calendar.value, chance: new Chance(1) };
  return workloadOf(host, 'then', { maxPortsPerProxy: 2, maxProxiesPerHost: 1 }, ground);
}

function historyOf(log: ReturnType<typeof recordedBy>): History {
  const history = new History();
  for (const event of log) history.take(event);
  return history;
}

const sourceOf = (history: History, described: unknown = {}) => {
  const question = readQuestion(described);
  const source = question.ok ? history.source(question.value, {}) : question;
  if (!source.ok) throw new Error(source.refusal.message);
  return source.value;
};

test('a host is found to be as fast as it was', () => {
  const source = sourceOf(historyOf(recordedBy(known(), { start, end })));
  const [workload] = source.workloads('as-it-was');
  expect(workload).toMatchObject({
    hostId: 'lab',
    hostPolicy: noHostPolicy,
    abilities: {
      ...{ inspectSeconds: 1, snapshotSeconds: 4, releaseSeconds: 5 },
      ...{ proxyBootSeconds: 20, proxyStopSeconds: 3, attachSeconds: 10, detachSeconds: 2 },
      portBytesPerSecond: 64 * MiB,
      // Never more than two ports were in use.
      ...{ proxyBytesPerSecond: 128 * MiB, bytesPerSecond: 128 * MiB },
    },
  });
  expect(source).toMatchObject({
    hosts: 1,
    vms: 3,
    start,
    notes: [expect.stringContaining('a proxy in 20.0 s')],
  });
});

test('under the policy that it had, what is simulated is what happened', () => {
  const workload = known();
  const then: number[] = [];
  for (const event of recordedBy(workload, { start, end }))
    if (event.type === 'RunEnding') then.push((Date.parse(event.recordedAt) - start) / 1000);
  const [outcome] = simulated(sourceOf(historyOf(recordedBy(workload, { start, end }))), 1).outcomes;
  expect(outcome?.backups).toMatchObject({ requested: 3, completed: 3 });
  // The third came twenty minutes later.
  const seconds = [then[0], then[1], (then[2] ?? 0) - 1200].sort((a = 0, b = 0) => a - b);
  expect(outcome?.finishedWithin.map(({ seconds }) => seconds)).toEqual(seconds);
});

test('another policy is held to the same backups and the same window', () => {
  const source = sourceOf(historyOf(recordedBy(known(), { start, end })), {
    window: '7min',
    policies: {
      'as-it-was': {},
      'one-port': { maxPortsPerProxy: 1 },
      'two-proxies': { maxProxiesPerHost: 2 },
    },
  });
  const missed = simulated(source, 1).outcomes.map(
    ({ policy, windows }) => `${policy} ${windows.missed} of ${windows.given}`,
  );
  // a and b share two ports for 512 s: both are late. Two proxies do not help: what the host carries was never seen to be more.
  expect(missed).toEqual(['as-it-was 2 of 3', 'one-port 3 of 3', 'two-proxies 2 of 3']);
});

test('a log without inspections cannot be simulated, and says so', () => {
  const log = recordedBy(known(), { start, end }).filter(({ type }) => type !== 'VmInspected');
  expect(historyOf(log).source({ policies: { x: {} } }, {})).toMatchObject({
    ok: false,
    refusal: { code: 'NothingToSimulate', message: expect.stringContaining('3 backups') },
  });
});

test('a question with a field that a history does not have is refused', () => {
  expect(readQuestion({ vms: [] })).toMatchObject({
    ok: false,
    refusal: { code: 'InvalidQuestion', message: expect.stringContaining('vms') },
  });
});
