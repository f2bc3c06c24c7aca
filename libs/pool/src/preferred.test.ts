/** Telling situations, as scripts: what was known, what was chosen, and what the record says of those that were not. */
import { describe, expect, test } from 'vitest';
import { healthChanged, planOf, TestPool } from './pool.fixture.ts';

const MiB = 1024 ** 2;
type Plan = ReturnType<typeof planOf>;

/** `p2-0a1b…` as `p2`: ids end in what nobody can remember. */
const short = (text: string): string => text.replaceAll(/\b(p\d+)-[0-9a-f]{8}/g, '$1');
const idOf = (pool: TestPool, name: string): string =>
  [...pool.pool.proxyVms.keys()].find((id) => id.startsWith(`${name}-`)) ?? name;

/** The newest choice: `p2 preferred chosen 1`, or why not. */
function choice(pool: TestPool): string[] {
  const chosen = pool.history.findLast((event) => event.type === 'ProxiesChosen');
  if (chosen?.type !== 'ProxiesChosen') return [];
  return chosen.data.candidates.map(({ proxyId, preferred, chosen, state, rank, reason }) =>
    short(
      `${proxyId}${preferred ? ' preferred' : ''}: ${chosen ? (state === 'new' ? 'started' : `chosen, rank ${rank}`) : reason}`,
    ),
  );
}

/** All of the run's jobs, wave by wave, at so many MiB a second and port by proxy; then its end. */
function finish(pool: TestPool, plan: Plan, speeds: Readonly<Record<string, number>> = {}): void {
  for (let wave = 0; wave < 20; wave += 1) {
    pool.run();
    const run = pool.pool.runs.get(plan.backupId);
    const leases = [...(run?.jobs.values() ?? [])].flatMap(({ lease }) => lease ?? []);
    for (const { childJobId, proxyId, ports } of leases) {
      const mib = speeds[short(proxyId)] ?? 50;
      const milliseconds = (64 / mib / ports.length) * 1000;
      pool.finishJob(childJobId, true, true, { bytes: 64 * MiB, milliseconds });
    }
  }
  pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
  pool.run();
}
function backup(pool: TestPool, plan: Plan, speeds: Readonly<Record<string, number>> = {}): string[] {
  pool.request(plan);
  finish(pool, plan, speeds);
  return choice(pool);
}

/** Proxies p1 to p3, which were as fast for `web` as said. */
function poolWith(speeds: Readonly<Record<string, number>>, policy = {}): TestPool {
  const pool = new TestPool();
  backup(pool, planOf('web', [3], 3, { maxPortsPerProxy: 1, proxyIdleSeconds: 600, ...policy }), speeds);
  return pool;
}
const one = (name: string, policy = {}) =>
  planOf(name, [1], 1, { maxPortsPerProxy: 1, maxProxiesPerHost: 3, ...policy });

describe('a VM that has been served before', () => {
  test('is given the proxy that was fastest for it, and the others are told why not', () => {
    const pool = poolWith({ p1: 41, p2: 88, p3: 30 });
    expect(backup(pool, { ...one('web-1'), vmId: 'web' })).toEqual([
      'p2 preferred: chosen, rank 1',
      'p1: outranked: slower for this VM: 41 MiB/s against 88 MiB/s',
      'p3: outranked: slower for this VM: 30 MiB/s against 88 MiB/s',
    ]);
  });

  test('is given the next of the same capability when the preferred one is busy', () => {
    const pool = poolWith({ p1: 41, p2: 88, p3: 30 });
    pool.request({ ...one('web-1'), vmId: 'web' });
    pool.run();
    pool.request({ ...one('web-2'), vmId: 'web' });
    pool.run();
    expect(choice(pool)).toEqual([
      'p1: chosen, rank 1',
      'p2 preferred: outranked: busy: 1 of 1 ports taken',
      'p3: outranked: slower for this VM: 30 MiB/s against 41 MiB/s',
    ]);
  });

  test('is given another when the preferred one is degraded', () => {
    const pool = poolWith({ p1: 41, p2: 88, p3: 30 });
    pool.append([healthChanged(idOf(pool, 'p2'), 'degraded', 'good', 'load 9 per port (degraded from 8)')]);
    expect(backup(pool, { ...one('web-1'), vmId: 'web' })).toEqual([
      'p1: chosen, rank 1',
      'p2 preferred: outranked: degraded: load 9 per port (degraded from 8)',
      'p3: outranked: slower for this VM: 30 MiB/s against 41 MiB/s',
    ]);
  });

  test('is told that the preferred one is gone, until others have served it', () => {
    const pool = poolWith({ p1: 41, p2: 88, p3: 30 });
    pool.append([healthChanged(idOf(pool, 'p2'), 'sick')]);
    pool.run();
    const said = backup(pool, { ...one('web-1'), vmId: 'web' });
    expect(said.slice(0, 2)).toEqual([
      'p1: chosen, rank 1',
      'p2 preferred: gone: sick: memory available 3 % (sick below 5)',
    ]);
    expect(backup(pool, { ...one('web-2'), vmId: 'web' })[0]).toBe('p1 preferred: chosen, rank 1');
  });

  test('is given a slow one before a new one is started: that one would cost more', () => {
    const pool = poolWith({ p1: 10, p2: 88, p3: 30 }, { maxProxiesPerHost: 9 });
    expect(backup(pool, { ...planOf('web-1', [3], 3, { maxPortsPerProxy: 1 }), vmId: 'web' })).toEqual([
      'p2 preferred: chosen, rank 1',
      'p3 preferred: chosen, rank 2',
      'p1 preferred: chosen, rank 3',
    ]);
  });
});

test('a VM that nothing is known of goes by what proxies did for others, and then by load', () => {
  const pool = poolWith({ p1: 20, p2: 88, p3: 90 });
  pool.request(one('db', { maxPortsPerProxy: 1 }));
  pool.run();
  expect(choice(pool)).toEqual([
    'p2: chosen, rank 1',
    'p3: outranked: equal to p2, which comes first by its name',
    expect.stringMatching(/^p1: outranked: slower for other VMs: /),
  ]);
});

test('runs that choose in one moment are spread, because what each takes counts for the next', () => {
  const pool = poolWith({});
  for (const name of ['a', 'b', 'c']) pool.request(one(name));
  pool.run();
  const chosen = pool.history.flatMap((event) =>
    event.type === 'ProxiesChosen' ? event.data.proxies.map(({ proxyId }) => short(proxyId)) : [],
  );
  expect(chosen.slice(3)).toEqual(['p1', 'p2', 'p3']);
});

test('a proxy with too little room is shared last: what can hold all of a run is started before', () => {
  const pool = new TestPool();
  pool.request(planOf('web', [1, 1], 1, { maxDisksPerProxy: 3 }));
  pool.run();
  const plan = planOf('db', [1, 1], 1, { maxDisksPerProxy: 3 });
  pool.request(plan);
  pool.run();
  expect(choice(pool)).toEqual([
    'p2: started',
    'p1: one that can hold all that it is given was started instead',
  ]);
});

describe('a proxy that falls sick while a run uses it', () => {
  const startOn = (proxies: number, policy = {}) => {
    const pool = new TestPool();
    const plan = planOf('web', [6], proxies, { maxPortsPerProxy: 2, maxProxiesPerHost: 2, ...policy });
    pool.request(plan);
    pool.run();
    return { pool, plan };
  };
  const leases = (pool: TestPool) => pool.leases().map(short);

  test('is given no more work, keeps what it has until that is done, and is then ended', () => {
    const { pool, plan } = startOn(2);
    expect(leases(pool)).toEqual(['web.d0.0@p1:0', 'web.d0.1@p2:0', 'web.d0.2@p1:1', 'web.d0.3@p2:1']);
    pool.append([healthChanged(idOf(pool, 'p1'), 'sick')]);
    pool.finishJob(`${plan.backupId}.d0.0`);
    pool.run();
    expect(leases(pool)).toEqual(['web.d0.1@p2:0', 'web.d0.2@p1:1', 'web.d0.3@p2:1']);
    pool.finishJob(`${plan.backupId}.d0.2`);
    pool.run();
    expect([...pool.pool.proxyVms.keys()].map(short)).toEqual(['p2']);
    expect(pool.pool.gone.get(pool.history.find((e) => e.type === 'ProxyRetiring')?.data.proxyId ?? '')).toBe(
      'sick: memory available 3 % (sick below 5)',
    );
    finish(pool, plan);
    expect(pool.pool.runs.size).toBe(0);
  });

  test('does not hold up a run that has no other: it chooses again at once, before the sick one is gone', () => {
    const { pool, plan } = startOn(1);
    pool.append([healthChanged(idOf(pool, 'p1'), 'sick')]);
    pool.run();
    expect(choice(pool)).toEqual(['p2: started', 'p1: sick: memory available 3 % (sick below 5)']);
    expect(leases(pool)).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1', 'web.d0.2@p2:0', 'web.d0.3@p2:1']);
    finish(pool, plan);
    expect([pool.pool.runs.size, [...pool.pool.proxyVms.keys()].map(short)]).toEqual([0, ['p2']]);
  });

  test('makes room for another at a full host, so that it blocks nobody for ever', () => {
    const { pool, plan } = startOn(1, { maxProxiesPerHost: 1 });
    pool.append([healthChanged(idOf(pool, 'p1'), 'sick')]);
    pool.run();
    expect(leases(pool)).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1']);
    finish(pool, plan);
    expect([pool.pool.runs.size, [...pool.pool.proxyVms.keys()].map(short)]).toEqual([0, ['p2']]);
  });

  test('goes on as before when it gets well before its work is done', () => {
    const { pool, plan } = startOn(1, { maxProxiesPerHost: 1 });
    pool.append([healthChanged(idOf(pool, 'p1'), 'sick')]);
    pool.finishJob(`${plan.backupId}.d0.0`);
    pool.run();
    pool.append([healthChanged(idOf(pool, 'p1'), 'good', 'sick')]);
    pool.run();
    expect(leases(pool)).toEqual(['web.d0.1@p1:1', 'web.d0.2@p1:0']);
  });
});

test('what a run moved is told once for each of its proxies, when it closes', () => {
  const pool = new TestPool();
  const plan = planOf('web', [6], 2, { maxPortsPerProxy: 2 });
  backup(pool, plan, { p1: 32, p2: 64 });
  const told = pool.history.flatMap((event) =>
    event.type === 'ProxyThroughputObserved'
      ? [[short(event.data.proxyId), event.data.bytes / event.data.portSeconds / MiB]]
      : [],
  );
  expect(told).toEqual([
    ['p1', 32],
    ['p2', 64],
  ]);
});
