/** What runs wait for, as people are told. */
import { noHostPolicy } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { planOf, TestPool } from './pool.fixture.ts';
import { waitsOf } from './waits.ts';

const told = (pool: TestPool): string[] =>
  waitsOf(pool.pool).map(
    ({ vmId, waitsFor, place, of, because }) => `${vmId}: ${waitsFor}, ${place} of ${of}: ${because}`,
  );
const onePort = { maxPortsPerProxy: 1, maxProxiesPerHost: 1 };

test('each run says what it waits for, and where it stands', () => {
  const pool = new TestPool();
  pool.command({ type: 'AdoptPolicy', policy: { ...noHostPolicy, maxOpenSnapshots: 4 }, revision: 1 });
  const small = { ...onePort, maxDisksPerProxy: 3 };
  for (const name of ['a', 'b', 'c', 'd', 'e']) pool.request(planOf(name, [1], 1, small));
  pool.request({ ...planOf('f', [1], 1, small), priority: 'high' });
  pool.run();
  expect(told(pool)).toEqual([
    'a: ports, 1 of 2: 1 of 1 ports of its proxies are held, it needs 1, and 0 runs that have none come before it',
    'b: ports, 2 of 2: 1 of 1 ports of its proxies are held, it needs 1, and 1 run that has none comes before it',
    'c: proxies, 1 of 1: 1 of at most 1 proxies run on host lab, and none has room for another disk',
    'd: leave to begin, 1 of 2: 4 of at most 4 snapshots are open on host lab',
    'e: leave to begin, 2 of 2: 4 of at most 4 snapshots are open on host lab',
  ]);
});

test("a paused run is told as one that waits for somebody, and is nobody's predecessor", () => {
  const pool = new TestPool();
  pool.command({ type: 'AdoptPolicy', policy: { ...noHostPolicy, maxRuns: 1 }, revision: 1 });
  const paused = planOf('a', [1], 1);
  pool.request(paused);
  pool.run();
  pool.request(planOf('b', [1], 1));
  pool.command({ type: 'PauseRun', runId: paused.backupId, purpose: 'backup', number: 1 });
  pool.run();
  expect(told(pool)).toEqual(['a: to be resumed, 1 of 1: it was paused, and keeps its point in time']);
});

test('nobody waits where there is enough of everything', () => {
  const pool = new TestPool();
  pool.request(planOf('a', [2], 1));
  pool.run();
  expect(waitsOf(pool.pool)).toEqual([]);
});

test('when a run would start is unknown until something has ended, and then follows the pace of what ended', () => {
  const pool = new TestPool();
  for (const name of ['a', 'b', 'c']) pool.request(planOf(name, [4], 1, onePort));
  pool.run();
  expect(waitsOf(pool.pool).map(({ startsInSeconds }) => startsInSeconds)).toEqual([null, null]);
  expect(waitsOf(pool.pool)[0]?.estimate).toContain('no child job has ended');
  // A child job of 64 MiB took ten seconds, and of four three are left.
  pool.now += 10_000;
  const [first] = [...pool.pool.runs.values()].flatMap(({ jobs }) => [...jobs.keys()]);
  pool.finishJob(first ?? '');
  pool.run();
  const waits = waitsOf(pool.pool);
  expect(waits.map(({ vmId, startsInSeconds }) => [vmId, startsInSeconds])).toEqual([
    ['b', 30],
    ['c', 70],
  ]);
  expect(waits[1]?.estimate).toBe('in about 70 s, at the pace of the last child jobs');
});
