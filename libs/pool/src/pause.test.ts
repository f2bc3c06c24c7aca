/** Pausing and cancelling runs at every stage, and what is said of a run before it is here. */
import { beforeEach, describe, expect, test } from 'vitest';
import { confirmsSomething } from './confirmation.ts';
import { confirmed } from './confirmed.fixture.ts';
import { HOST, planOf, recoveryPlanOf, TestPool } from './pool.fixture.ts';

const plan = planOf('web-1', [3], 1, { maxPortsPerProxy: 2, maxProxiesPerHost: 1 });
const runId = plan.backupId;
const order = (type: 'PauseRun' | 'ResumeRun', number: number, purpose: 'backup' | 'recovery' = 'backup') =>
  ({ type, runId, purpose, number }) as const;
const cancel = { type: 'CancelRun', runId, purpose: 'backup' } as const;

let pool: TestPool;
const typesOf = (from = 0): string[] => pool.history.slice(from).map(({ type }) => type);
const since = (work: () => unknown): string[] => {
  const from = pool.history.length;
  work();
  return typesOf(from);
};
const step = (): void => pool.append(pool.settle().flatMap((action) => confirmed(action)));

beforeEach(() => {
  pool = new TestPool();
});

describe('a backup that is paused while it reads', () => {
  beforeEach(() => {
    pool.request(plan);
    pool.run();
    expect(pool.leases()).toEqual(['web-1.d0.0@p1:0', 'web-1.d0.1@p1:1']);
  });

  test('gives its ports and its proxy to others, and keeps its snapshot', () => {
    pool.command(order('PauseRun', 1));
    expect(since(() => pool.settle())).toEqual(['PortsReleased', 'PortsReleased']);
    expect(pool.history.at(-1)).toMatchObject({ data: { because: 'paused' } });
    expect(pool.settle()).toMatchObject([{ type: 'DetachDisk', diskId: 'd0' }]);
    step();
    expect(pool.pool.runs.get(runId)).toMatchObject({ hold: 'ready', paused: true, leased: 0 });
    pool.settle();
    pool.now += 3_600_000;
    // Nobody else wants the proxy: it idles away, as if the run were none.
    expect(since(() => pool.run())).toEqual(['ProxyRetiring', 'ProxyDeactivated']);
  });

  test('leaves the only proxy to another run, and goes on when that has ended', () => {
    pool.command(order('PauseRun', 1));
    pool.run();
    const other = planOf('web-2', [1], 1, plan.policy);
    pool.request(other);
    pool.run();
    expect(pool.leases()).toEqual(['web-2.d0.0@p1:0']);
    pool.finishJob(`${other.backupId}.d0.0`);
    pool.command({ type: 'EndRun', runId: other.backupId, outcome: 'completed' });
    pool.run();
    pool.command(order('ResumeRun', 2));
    pool.run();
    expect(pool.leases()).toEqual(['web-1.d0.0@p1:0', 'web-1.d0.1@p1:1']);
    expect(pool.history.filter(({ type }) => type === 'SnapshotTaken')).toHaveLength(2);
    expect(pool.history.filter(({ type }) => type === 'ProxiesChosen')).toHaveLength(3);
  });

  test('holds no attempt against its child jobs, and does not begin again those that are done', () => {
    pool.finishJob(`${runId}.d0.0`);
    for (const number of [1, 3, 5, 7, 9]) {
      pool.command(order('PauseRun', number));
      pool.run();
      pool.command(order('ResumeRun', number + 1));
      pool.run();
    }
    const [, second] = pool.pool.runs.get(runId)?.jobs.values() ?? [];
    expect(second).toMatchObject({ state: 'leased', interruptions: 0, attempts: 6 });
    expect(pool.pool.runs.get(runId)?.outcome).toBeUndefined();
    expect(pool.leases()).toEqual(['web-1.d0.1@p1:0', 'web-1.d0.2@p1:1']);
  });

  test('hears nothing more of attempts that its pause has ended', () => {
    const lease = pool.pool.runs.get(runId)?.jobs.get(`${runId}.d0.0`)?.lease;
    pool.command(order('PauseRun', 1));
    pool.settle();
    const late = { runId, childJobId: `${runId}.d0.0`, leaseId: lease?.leaseId ?? '' };
    expect(
      pool.command({ type: 'ReleasePorts', ...late, completed: false, reason: 'cut', retryable: false }),
    ).toEqual([]);
  });

  test('is served its snapshot again when that is lost meanwhile, and takes nothing else', () => {
    pool.command(order('PauseRun', 1));
    pool.run();
    pool.observe({ disks: false });
    expect(since(() => pool.run())).toEqual(['SnapshotTaken']);
    expect(pool.pool.runs.get(runId)?.hold).toBe('ready');
  });

  test('can be cancelled: its snapshot goes back, and nothing is left', () => {
    pool.command(order('PauseRun', 1));
    pool.run();
    pool.command(cancel);
    expect(since(() => pool.run())).toEqual(['SnapshotReleased', 'RunClosed']);
    expect(pool.history.at(-2)).toMatchObject({ data: { checkpoints: 'discarded' } });
  });

  test('pauses once, whatever is repeated or comes late', () => {
    expect(pool.command(order('PauseRun', 1))).toHaveLength(1);
    expect(pool.command(order('PauseRun', 1))).toEqual([]);
    expect(pool.command(order('ResumeRun', 4))).toHaveLength(1);
    expect(pool.command(order('PauseRun', 3))).toEqual([]);
    expect(pool.pool.runs.get(runId)?.paused).toBe(false);
  });

  test('that has completed in the same moment completes', () => {
    pool.command(order('PauseRun', 1));
    pool.command({ type: 'EndRun', runId, outcome: 'completed' });
    pool.run();
    expect(pool.history.at(-1)).toMatchObject({ type: 'RunClosed', data: { outcome: 'completed' } });
  });
});

test('a run that goes on before its disks are let go of has room for them at the only proxy again', () => {
  pool.request(planOf('web-1', [1], 1, { maxDisksPerProxy: 1, maxProxiesPerHost: 1 }));
  pool.run();
  pool.command(order('PauseRun', 1));
  const detach = pool.settle();
  expect(detach).toMatchObject([{ type: 'DetachDisk' }]);
  pool.command(order('ResumeRun', 2));
  expect(pool.settle()).toEqual(detach);
  pool.run();
  expect(pool.leases()).toEqual(['web-1.d0.0@p1:0']);
});

test('what lets go of the disks of a paused run says something new, also after the run was told to go on', () => {
  pool.request(plan);
  pool.run();
  const [proxyId = ''] = pool.pool.proxies.keys();
  const detached = { type: 'DiskDetached', data: { hostId: HOST, runId, proxyId, diskId: 'd0' } } as const;
  expect(confirmsSomething(pool.pool, detached)).toBe(false);
  pool.command(order('PauseRun', 1));
  expect(confirmsSomething(pool.pool, detached)).toBe(true);
  pool.command(order('ResumeRun', 2));
  expect(confirmsSomething(pool.pool, detached)).toBe(true);
});

test('a run that goes on does not wait for a lost proxy to be cleared away', () => {
  pool.request(planOf('web-1', [1], 1, { maxProxiesPerHost: 2 }));
  pool.run();
  const [lost = ''] = pool.pool.proxies.keys();
  pool.append([{ type: 'ProxyLost', data: { hostId: HOST, proxyId: lost, reason: 'killed' } }]);
  pool.command(order('PauseRun', 1));
  pool.settle();
  pool.command(order('ResumeRun', 2));
  expect(since(() => pool.settle())).toContain('ProxiesChosen');
});

describe('a recovery that is paused', () => {
  test('keeps the disks of the VM to be, lets go of its proxies, and is discarded when it is cancelled', () => {
    const recovery = { ...recoveryPlanOf('web-1', [2], 1), recoveryId: runId };
    pool.request(recovery);
    pool.run();
    pool.command(order('PauseRun', 1, 'recovery'));
    expect(since(() => pool.run())).toEqual(['PortsReleased', 'PortsReleased', 'DiskDetached', 'ProxyIdle']);
    expect(pool.pool.runs.get(runId)?.hold).toBe('ready');
    pool.command({ type: 'CancelRun', runId, purpose: 'recovery' });
    expect(since(() => pool.run())).toEqual(['TargetDiscarded', 'RunClosed']);
  });
});

test("a run through the host's own export is paused and goes on, and the export stays", () => {
  const direct = planOf('web-1', [3], 0);
  pool.request(direct);
  pool.run();
  const leased = pool.leases().length;
  pool.command(order('PauseRun', 1));
  expect(since(() => pool.run())).toEqual(Array.from({ length: leased }, () => 'PortsReleased'));
  pool.command(order('ResumeRun', 2));
  expect(since(() => pool.run())).toEqual([
    'ProxiesActivated',
    ...Array.from({ length: leased }, () => 'PortsLeased'),
  ]);
});

describe('of a run that is not here yet', () => {
  test('a pause is remembered: it takes nothing until it goes on', () => {
    expect(pool.command(order('PauseRun', 1))).toMatchObject([{ type: 'RunPaused', data: { hostId: HOST } }]);
    pool.request(plan);
    pool.restart();
    expect(pool.settle()).toEqual([]);
    expect(typesOf()).toEqual(['RunPaused', 'ActivationRequested']);
    pool.command(order('ResumeRun', 2));
    pool.run();
    expect(pool.leases()).toHaveLength(2);
  });

  test('a pause that is over before it comes is none', () => {
    pool.command(order('PauseRun', 1));
    pool.command(order('ResumeRun', 2));
    pool.request(plan);
    pool.run();
    expect(pool.leases()).toHaveLength(2);
    expect(pool.command(order('PauseRun', 1))).toEqual([]);
  });

  test('the end is the end: it is closed at once, and its plan, arriving late, begins nothing', () => {
    expect(pool.command(cancel)).toMatchObject([{ type: 'RunClosed', data: { outcome: 'cancelled' } }]);
    expect(pool.command(cancel)).toEqual([]);
    expect(pool.command(order('PauseRun', 1))).toEqual([]);
    pool.restart();
    pool.request(plan);
    expect(pool.settle()).toEqual([]);
    expect(typesOf()).toEqual(['RunClosed']);
    expect(pool.pool.runs.size).toBe(0);
  });

  test('so much is remembered and no more', () => {
    for (let number = 0; number < 10_050; number += 1)
      pool.command({ type: 'CancelRun', runId: `run-${number}`, purpose: 'backup' });
    expect(pool.pool.early.size).toBe(10_000);
    expect(pool.command({ type: 'CancelRun', runId: 'run-10049', purpose: 'backup' })).toEqual([]);
  });
});

test('a run that is cancelled before it has its snapshot takes none', () => {
  pool.request(plan);
  pool.command(cancel);
  pool.run();
  expect(typesOf()).toEqual(['ActivationRequested', 'RunEnding', 'RunClosed']);
});
