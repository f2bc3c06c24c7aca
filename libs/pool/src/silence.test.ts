/** What did not answer when the host looked: when that is patience, and when it is a loss. */

import { Fault } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { countsAsTry } from './given-up.ts';
import { planOf, TestPool } from './pool.fixture.ts';
import { SilenceWatch } from './silence.ts';

function running(jobs = 1): TestPool {
  const pool = new TestPool();
  pool.request(planOf('web', [jobs], 1, { maxAttemptsPerChildJob: 9 }));
  pool.run();
  return pool;
}
const told = (pool: TestPool, type: string): string[] =>
  pool.history.flatMap((event) =>
    event.type === type ? ['reason' in event.data ? String(event.data.reason) : ''] : [],
  );
/** Looks three seconds apart, as the worker's are. */
const looks = (pool: TestPool, count: number, seen: Parameters<TestPool['observe']>[0]): void => {
  for (let look = 0; look < count; look += 1) {
    pool.observe(seen);
    pool.run();
    pool.now += 3_000;
  }
};

describe('disks that do not answer', () => {
  test('for a minute cost the run nothing: its leases stay, and it goes on', () => {
    const pool = running();
    const leases = pool.leases();
    looks(pool, 20, { disk: 'silent' });
    looks(pool, 1, {});
    expect(told(pool, 'SnapshotLost')).toEqual([]);
    expect(pool.leases()).toEqual(leases);
  });

  test('are lost when five minutes of looks agree, and not when one of them had an answer', () => {
    const pool = running();
    looks(pool, 90, { disk: 'silent' });
    looks(pool, 1, {});
    looks(pool, 100, { disk: 'silent' });
    expect(told(pool, 'SnapshotLost')).toEqual([]);
    looks(pool, 1, { disk: 'silent' });
    expect(told(pool, 'SnapshotLost')).toEqual(['no answer for 300 s: its storage does not answer']);
  });

  test('that are known to be gone are lost at once', () => {
    const pool = running();
    looks(pool, 1, { disk: 'gone' });
    expect(told(pool, 'SnapshotLost')).toEqual(['its storage does not answer']);
  });

  test('keep the child jobs that they interrupt waiting, and no proxy pays for it', () => {
    const pool = running();
    const leases = pool.leases();
    pool.finishJob(`${[...pool.pool.runs.keys()][0]}.d0.0`, false);
    looks(pool, 50, { disk: 'silent' });
    expect(pool.leases()).toEqual([]);
    looks(pool, 1, {});
    expect(pool.leases()).toEqual(leases);
    expect(told(pool, 'ProxyLost')).toEqual([]);
  });

  test('of one run do not end a proxy that another works on', () => {
    const pool = new TestPool();
    const [slow, other] = [planOf('slow', [1], 1, { maxAttemptsPerChildJob: 9 }), planOf('other', [1], 1)];
    for (const plan of [slow, other]) {
      pool.request(plan);
      pool.run();
    }
    const shared = pool.leases().map((lease) => lease.split('@')[1]?.split(':')[0]);
    expect(new Set(shared).size).toBe(1);
    for (let round = 0; round < 4; round += 1) {
      pool.finishJob(`${slow.backupId}.d0.0`, false);
      pool.observe({ disk: (runId) => (runId === slow.backupId ? 'silent' : 'alive') });
      pool.run();
      expect(pool.leases().length).toBe(2);
    }
    expect(told(pool, 'ProxyLost')).toEqual([]);
  });

  test('are no failed try of what needs them: anything else that goes wrong is', () => {
    const silent = new Fault('Attaching failed', { cause: new Fault('no answer', { code: 'DisksSilent' }) });
    expect(countsAsTry(silent)).toBe(false);
    expect(countsAsTry(new Fault('Attaching failed', { code: 'SnapshotLost' }))).toBe(true);
  });
});

test('what is lost again and again is counted in a row: a child job that is done in between ends the count', () => {
  const pool = running(12);
  const [runId] = pool.pool.runs.keys();
  for (let round = 0; round < 10; round += 1) {
    pool.observe({ disks: false });
    pool.run();
    pool.finishJob(`${runId}.d0.${round}`);
    pool.run();
  }
  expect(told(pool, 'SnapshotLost').length).toBe(10);
  expect(told(pool, 'RunFailed')).toEqual([]);
});

describe('a proxy', () => {
  test('of which the process is gone is lost at one look', () => {
    const pool = running();
    looks(pool, 1, { proxy: 'gone' });
    expect(told(pool, 'ProxyLost')).toEqual(['killed']);
  });

  test('that does not answer is lost when a second look agrees, and not before', () => {
    const pool = running();
    looks(pool, 1, { proxy: 'silent' });
    looks(pool, 1, {});
    looks(pool, 1, { proxy: 'silent' });
    expect(told(pool, 'ProxyLost')).toEqual([]);
    looks(pool, 1, { proxy: 'silent' });
    expect(told(pool, 'ProxyLost')).toEqual(['no answer for 3 s: killed']);
  });

  test('that could not be asked keeps its leases and its disks, however often that is so', () => {
    const pool = running();
    const leases = pool.leases();
    const events = pool.history.length;
    looks(pool, 200, { proxy: 'unknown' });
    expect(pool.history.length).toBe(events);
    expect(pool.leases()).toEqual(leases);
  });

  test('that is suspected waits for work until somebody could ask it', () => {
    const pool = running();
    pool.finishJob(`${[...pool.pool.runs.keys()][0]}.d0.0`, false);
    looks(pool, 3, { proxy: 'unknown' });
    expect(pool.leases()).toEqual([]);
    looks(pool, 1, {});
    expect(pool.leases()).toEqual(['web.d0.0@p1:0']);
  });
});

test('a look that could not ask neither adds to a silence nor ends it, and what nobody asks for is forgotten', () => {
  const first = new SilenceWatch(new Map([['other', 0]]), 1_000);
  expect(first.hears('a', 'silent', 5_000).verdict).toBe('undecided');
  const second = new SilenceWatch(first.silences, 9_000);
  expect(second.hears('a', 'unknown', 5_000).verdict).toBe('undecided');
  expect([...second.silences]).toEqual([['a', 1_000]]);
  const third = new SilenceWatch(second.silences, 10_000);
  expect(third.hears('a', 'silent', 5_000)).toEqual({ verdict: 'gone', silentSeconds: 9 });
});
