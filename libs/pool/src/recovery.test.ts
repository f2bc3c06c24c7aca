import { describe, expect, test } from 'vitest';
import { confirmed, planOf, recoveryPlanOf, TestPool } from './pool.fixture.ts';
import { failureOf } from './pool-state.ts';

const typesOf = (pool: TestPool, from = 0): string[] => pool.history.slice(from).map(({ type }) => type);
const jobId = (plan: ReturnType<typeof recoveryPlanOf>, index: number): string =>
  plan.childJobs[index]?.childJobId ?? '';

describe('a recovery through proxies', () => {
  test('makes empty disks first, then has them attached writable, and leases ports to its data streams', () => {
    const pool = new TestPool();
    pool.request(recoveryPlanOf('web-2', [2], 1));
    const access: string[] = [];
    for (let actions = pool.settle(); actions.length > 0; actions = pool.settle()) {
      for (const action of actions) {
        if (action.type === 'AttachDisk') access.push(action.access);
        pool.append(confirmed(action));
      }
    }
    expect(typesOf(pool)).toEqual([
      'ActivationRequested',
      'TargetRequested',
      'TargetCreated',
      'ProxiesChosen',
      'ProxyActivationRequested',
      'DiskAttachRequested',
      'ProxyActivated',
      'DiskAttached',
      'ProxiesActivated',
      'PortsLeased',
      'PortsLeased',
    ]);
    expect(access).toEqual(['writable']);
    const leases = pool.history.flatMap((event) => (event.type === 'PortsLeased' ? [event.data] : []));
    expect(leases).toMatchObject([
      { purpose: 'recovery', diskBytes: 2 * 64 * 1024 ** 2, offset: 0 },
      { purpose: 'recovery', offset: 64 * 1024 ** 2 },
    ]);
  });

  test('makes the disks a VM only after every disk was detached', () => {
    const pool = new TestPool();
    const plan = recoveryPlanOf('web-2', [1], 1);
    pool.request({ ...plan, start: true });
    pool.run();
    pool.finishJob(jobId(plan, 0));
    const before = pool.history.length;
    pool.command({ type: 'EndRun', runId: plan.recoveryId, outcome: 'completed' });
    pool.run();
    expect(typesOf(pool, before)).toEqual([
      'RunEnding',
      'DiskDetached',
      'ProxyIdle',
      'TargetKept',
      'ProxyThroughputObserved',
      'RunClosed',
    ]);
    expect(pool.history.find(({ type }) => type === 'TargetKept')?.data).toMatchObject({ started: true });
  });

  test('that failed leaves no VM', () => {
    const pool = new TestPool();
    const plan = recoveryPlanOf('web-2', [1], 1, { maxAttemptsPerChildJob: 1 });
    pool.request(plan);
    pool.run();
    const before = pool.history.length;
    pool.finishJob(jobId(plan, 0), false);
    pool.observe();
    pool.run();
    expect(typesOf(pool, before)).toEqual([
      'PortsReleased',
      'RunFailed',
      'ProxyHealthObserved',
      'DiskDetached',
      'ProxyIdle',
      'TargetDiscarded',
      'RunClosed',
    ]);
  });

  test('whose VM the host refuses at the last moment has failed, and leaves nothing', () => {
    const pool = new TestPool();
    const plan = recoveryPlanOf('web-2', [1], 1);
    pool.request(plan);
    pool.run();
    pool.finishJob(jobId(plan, 0));
    pool.command({ type: 'EndRun', runId: plan.recoveryId, outcome: 'completed' });
    for (const action of pool.settle()) pool.append(confirmed(action));
    const [keep] = pool.settle();
    expect(keep?.type).toBe('KeepTarget');
    if (keep?.type === 'KeepTarget')
      pool.append([failureOf(keep.order, { code: 'VmExists', message: 'There is one.' })]);
    const before = pool.history.length;
    pool.run();
    expect(typesOf(pool, before)).toEqual(['TargetDiscarded', 'ProxyThroughputObserved', 'RunClosed']);
    expect(pool.history.at(-1)?.data).toMatchObject({ outcome: 'failed' });
  });

  test('whose disks are served by nobody any more has them served again and attached again, and only then its streams go on', () => {
    const pool = new TestPool();
    pool.request(recoveryPlanOf('web-2', [1], 1));
    const asked: boolean[] = [];
    const run = (): void => {
      for (let actions = pool.settle(); actions.length > 0; actions = pool.settle()) {
        for (const action of actions) {
          if (action.type === 'CreateTarget') asked.push(action.again);
          pool.append(confirmed(action));
        }
      }
    };
    run();
    const before = pool.history.length;
    pool.observe({ disks: false });
    run();
    // Made once: what was confirmed as written is not written again, and a new disk would have nothing of it.
    expect(asked).toEqual([false, true]);
    expect(typesOf(pool, before)).toEqual([
      'PortsReleased',
      'TargetLost',
      'TargetCreated',
      'DiskAttached',
      'PortsLeased',
    ]);
    expect(pool.history.at(-1)?.data).toMatchObject({ attempt: 2, fence: 2 });
  });

  test('is not charged for attempts that were cut because the server of its disks died, and is for others', () => {
    const pool = new TestPool();
    const plan = recoveryPlanOf('web-2', [1], 1, { maxAttemptsPerChildJob: 2 });
    pool.request(plan);
    pool.run();
    for (let deaths = 0; deaths < 4; deaths += 1) {
      pool.finishJob(jobId(plan, 0), false);
      pool.observe({ disks: false });
      pool.run();
    }
    expect(pool.history.at(-1)).toMatchObject({ type: 'PortsLeased', data: { attempt: 5 } });
    for (const stillThere of [true, true]) {
      pool.finishJob(jobId(plan, 0), false);
      pool.observe({ disks: stillThere });
      pool.settle();
    }
    expect(pool.history.filter(({ type }) => type === 'RunFailed')).toMatchObject([
      {
        data: {
          refusal: { code: 'AttemptsExhausted', message: expect.stringMatching(/interrupted 2 times/) },
        },
      },
    ]);
  });

  test('shares a proxy with a backup: both hold ports of it at the same moment', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [2], 1));
    pool.run();
    pool.request(recoveryPlanOf('web-2', [2], 1));
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1', 'web-2.d0.0@p1:2', 'web-2.d0.1@p1:3']);
  });

  test('direct to the host writes through the host itself, with no proxy', () => {
    const pool = new TestPool();
    pool.request(recoveryPlanOf('web-2', [2], 0));
    pool.run();
    expect(typesOf(pool)).toContain('DirectEndpointOpened');
    expect(pool.leases()).toHaveLength(2);
    expect(pool.pool.proxyVms.size).toBe(0);
  });
});
