/** Anything that can happen to a host, in any order, for properties that must hold whatever happens. */
import { type Policy, Priority } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import fc from 'fast-check';
import { givenUp } from './given-up.ts';
import { HOST, healthChanged, instantPlanOf, planOf, recoveryPlanOf, type TestPool } from './pool.fixture.ts';
import { isInstant } from './pool-state.ts';

/** One thing that can happen to a host; the number picks what it happens to. */
export const happening = fc.record({
  what: fc.constantFrom(
    'request',
    'request',
    'request',
    'act',
    'act on all',
    'act on all',
    'act on all',
    'finish',
    'finish',
    'interrupt',
    'give up',
    'open mounts',
    'open mounts',
    'fail to read',
    'fill',
    'fill',
    'kill filling VMs',
    'kill filling VMs',
    'lose proxy',
    'lose disks',
    'observe',
    'hear nothing',
    'hear nothing',
    'change health',
    'schedule approaches',
    'schedule approaches',
    'recycling changes',
    'appliance changes',
    'end',
    'limit',
    'pause',
    'pause',
    'resume',
    'resume',
    'cancel',
    'speak early',
    'restart',
    'wait',
  ),
  pick: fc.nat(1000),
});

export const policy = fc.record({
  maxPortsPerProxy: fc.integer({ min: 1, max: 4 }),
  maxChildJobsPerProxy: fc.integer({ min: 1, max: 4 }),
  maxProxiesPerHost: fc.integer({ min: 1, max: 3 }),
  maxDisksPerProxy: fc.integer({ min: 1, max: 3 }),
  maxAttemptsPerChildJob: fc.integer({ min: 1, max: 3 }),
  portsPerChildJob: fc.constantFrom(1, 1, 2),
});

/** A proxy that offers less than a child job needs would be no use to anybody: the planner refuses such a policy. */
const enoughPorts = ({ maxPortsPerProxy = 1, portsPerChildJob = 1 }: Partial<Policy> = {}) => ({
  maxPortsPerProxy: Math.max(maxPortsPerProxy, portsPerChildJob),
  portsPerStream: portsPerChildJob,
});

export function live(
  pool: TestPool,
  policies: Parameters<typeof planOf>[3],
  history: readonly { what: string; pick: number }[],
  firstNumber = 0,
  afterEach: (pool: TestPool) => void = () => undefined,
): void {
  let requested = firstNumber;
  for (const { what, pick } of history) {
    const leased = [...pool.pool.runs.values()].flatMap((run) =>
      [...run.jobs.values()].filter((job) => job.lease),
    );
    const runs = [...pool.pool.runs.values()];
    switch (what) {
      case 'request': {
        const jobs = [[1], [3], [1, 1], [2, 1, 1]][pick % 4] ?? [1];
        const makePlan = [planOf, planOf, planOf, recoveryPlanOf, instantPlanOf][pick % 5] ?? planOf;
        const plan = makePlan(`vm${requested}`, jobs, pick % 3, { ...policies, ...enoughPorts(policies) });
        const priority = Priority.options[pick % 7] ?? 'normal';
        // Some VMs have several runs: one ends while the next begins.
        pool.request({ ...plan, priority, vmId: pick % 3 === 0 ? 'shared' : plan.vmId });
        requested += 1;
        break;
      }
      case 'act': {
        const actions = pool.settle();
        const action = actions[pick % Math.max(1, actions.length)];
        if (action !== undefined) pool.confirm(action);
        break;
      }
      case 'act on all':
        for (const action of pool.settle()) pool.confirm(action);
        pool.settle();
        break;
      case 'finish':
      case 'interrupt': {
        const job = leased[pick % Math.max(1, leased.length)];
        if (job !== undefined) pool.finishJob(job.childJobId, what === 'finish');
        break;
      }
      case 'give up': {
        const actions = pool.settle();
        const action = actions[pick % Math.max(1, actions.length)];
        if (action !== undefined)
          pool.append(givenUp(pool.pool, action, new Error('it never worked')), 'given-up');
        break;
      }
      case 'open mounts':
        pool.openMounts();
        break;
      case 'fail to read': {
        const instant = runs.filter(isInstant);
        const runId = instant[pick % Math.max(1, instant.length)]?.order.runId;
        const refusal = { code: 'RestorePointDamaged', message: 'It is damaged.' };
        if (runId !== undefined) pool.command({ type: 'FailRun', runId, refusal });
        break;
      }
      case 'fill':
        pool.fill((pick % 5) * 8 * 1024 ** 2);
        break;
      case 'kill filling VMs':
        pool.fills = pool.fills.map((fill) => ({ ...fill, state: 'stopped' }));
        if (pick % 4 > 0) pool.observe();
        break;
      case 'lose proxy': {
        const proxies = [...pool.pool.proxies.values()].filter(
          (proxy) => proxy.kind === 'proxy' && proxy.state === 'active',
        );
        const proxyId = proxies[pick % Math.max(1, proxies.length)]?.proxyId;
        if (proxyId !== undefined)
          pool.append([{ type: 'ProxyLost', data: { hostId: HOST, proxyId, reason: 'killed' } }], 'drift');
        break;
      }
      case 'change health': {
        const proxies = [...pool.pool.proxyVms.values()].filter(({ state }) => state === 'active');
        const proxy = proxies[pick % Math.max(1, proxies.length)];
        const health = (['sick', 'degraded', 'good'] as const)[pick % 3] ?? 'good';
        if (proxy !== undefined) pool.append([healthChanged(proxy.proxyId, health, proxy.health.state)]);
        break;
      }
      case 'lose disks':
        pool.observe({ disks: false });
        break;
      case 'hear nothing': {
        const [proxy, disk] =
          (
            [
              ['silent', 'alive'],
              ['unknown', 'silent'],
              ['alive', 'silent'],
              ['silent', 'unknown'],
            ] as const
          )[pick % 4] ?? [];
        pool.now += (pick % 40) * 1_000;
        pool.observe({ ...(proxy && { proxy }), ...(disk && { disk }) });
        break;
      }
      case 'observe':
        pool.observe({ dead: pick % 4 === 0 });
        break;
      case 'end': {
        const run = runs[pick % Math.max(1, runs.length)];
        if (run) pool.command({ type: 'EndRun', runId: run.order.runId, outcome: 'cancelled' });
        break;
      }
      case 'limit': {
        const limitBy = (divisor: number): number | null => (pick % divisor) % 4 || null;
        const policy = {
          ...pool.pool.policy,
          ...{ maxRuns: limitBy(11), maxOpenSnapshots: limitBy(7) },
          ...{ maxPortsPerVm: limitBy(5), maxProxies: limitBy(13) },
        };
        pool.command({ type: 'AdoptPolicy', policy, revision: pool.pool.policyRevision + 1 });
        break;
      }
      case 'pause':
      case 'resume': {
        const run = runs[pick % Math.max(1, runs.length)];
        // One in three comes late: a newer order was heard already.
        if (run) order(pool, what, run.order.runId, run.orders + (pick % 3 === 0 ? 0 : 1));
        break;
      }
      case 'cancel': {
        const run = runs[pick % Math.max(1, runs.length)];
        if (run) pool.command({ type: 'CancelRun', runId: run.order.runId, purpose: run.order.purpose });
        break;
      }
      case 'speak early': {
        const runId = planOf(`vm${requested}`, [1], 1).backupId;
        if (pick % 3 === 0) pool.command({ type: 'CancelRun', runId, purpose: 'backup' });
        else order(pool, pick % 3 === 1 ? 'pause' : 'resume', runId, 1 + (pick % 5));
        break;
      }
      case 'schedule approaches': {
        const vmId = `vm${pick % Math.max(1, requested)}`;
        const dueAt = new Date(pool.now + pick * 100).toISOString();
        const runId = derivedId('test', `vm${requested + (pick % 2)}`);
        const at = new Date(pool.now).toISOString();
        pool.command({ type: 'PrestartProxies', runId, scheduleId: `nightly-${vmId}`, vmId, dueAt, at });
        break;
      }
      case 'recycling changes': {
        const recycling = {
          recycleAfterRuns: [null, 1, 2, 3][pick % 4] ?? null,
          recycleAfterHours: [null, 1][pick % 2] ?? null,
          recycleOldAppliance: pick % 3 === 0,
          proxyIdleSeconds: [null, 0, 30, 7200][pick % 4] ?? null,
        };
        const revision = pool.pool.policyRevision + 1;
        pool.command({ type: 'AdoptPolicy', policy: { ...pool.pool.policy, ...recycling }, revision });
        break;
      }
      case 'appliance changes':
        pool.appliance = `build ${pick % 2}`;
        break;
      case 'restart':
        if (pick % 2 === 0) pool.restart();
        else pool.restartFromKept();
        break;
      default:
        // Sometimes past what may be overtaken.
        pool.now += pick % 3 === 0 ? pick * 10_000 : pick * 100;
    }
    afterEach(pool);
  }
}

const order = (pool: TestPool, what: 'pause' | 'resume', runId: string, number: number): unknown =>
  pool.command({
    type: what === 'pause' ? 'PauseRun' : 'ResumeRun',
    ...{ runId, purpose: pool.pool.runs.get(runId)?.order.purpose ?? 'backup', number },
  });
