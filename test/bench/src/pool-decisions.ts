/**
 * How fast a pool decides: 200 proxies of 4 ports, all leased, and 2,000 child jobs that wait for one. The child job that has had its port
 * longest ends; what the pool makes of it (the port goes to the next in line; a backup that has no jobs left is taken down, and others
 * begin where fewer than 2,000 jobs wait) is decided, carried out at once and folded. Each round begins and ends with all ports leased. No
 * I/O.
 */
import { defaultPolicy, type Event, type Plan } from '@backhaul/contracts';
import { GiB } from '@backhaul/kernel';
import { plan } from '@backhaul/planning';
import { carryOut, decisionsNow, dueActions, emptyPool, evolve, type HostEvent, react } from '@backhaul/pool';
import { confirmationOf, jobCompleted } from '@backhaul/simulation';
import type { Figures } from './figures.ts';

const PROXIES = 200;
const PORTS = 4;
const JOBS_PER_RUN = 7;
const JOBS_WAITING = 2_000;
/** So many backups fill that many proxies: each has one disk at two of them. */
const DISKS_PER_PROXY = 8;
const RUNS = (PROXIES * DISKS_PER_PROXY) / 2;
const ROUNDS = Number(process.env.BACKHAUL_BENCH_POOL_ROUNDS ?? 5_000);
const HOST = 'bench';

type Lease = Extract<HostEvent, { type: 'PortsLeased' }>['data'];

export async function run(): Promise<Figures> {
  const pool = new BusyPool();
  for (let number = 0; number < RUNS; number += 1) pool.request();
  pool.settle();
  while (pool.waiting > JOBS_WAITING) pool.finishOldest();
  pool.decided = 0;
  const times: number[] = [];
  const begun = performance.now();
  for (let round = 0; round < ROUNDS; round += 1) {
    const at = performance.now();
    pool.finishOldest();
    times.push(performance.now() - at);
  }
  const seconds = (performance.now() - begun) / 1000;
  times.sort((a, b) => a - b);
  return {
    'pool.proxies': pool.proxies,
    'pool.jobsWaiting': pool.waiting,
    'pool.decisions.perSecond': pool.decided / seconds,
    'pool.leases.perSecond': ROUNDS / seconds,
    'pool.round.p50Milliseconds': times[Math.floor(times.length / 2)] ?? Number.NaN,
    'pool.round.p99Milliseconds': times[Math.floor(times.length * 0.99)] ?? Number.NaN,
  };
}

class BusyPool {
  /** Events that the pool decided on: confirmations of what was done are not among them. */
  decided = 0;
  readonly #pool = emptyPool(HOST);
  readonly #leases = new Map<string, Lease>();
  #requested = 0;
  #waiting = 0;
  readonly #now = Date.parse('2026-01-01T00:00:00Z');

  get proxies(): number {
    return this.#pool.proxyVms.size;
  }

  get waiting(): number {
    return this.#waiting;
  }

  request(): void {
    this.#requested += 1;
    const planned = planOf(this.#requested);
    this.#waiting += planned.childJobs.length;
    this.#news({ type: 'ProxiesCalculated', data: planned });
  }

  finishOldest(): void {
    const [lease] = this.#leases.values();
    if (lease === undefined) throw new Error('No child job of the busy pool holds a port');
    const data = jobCompleted(lease, lease.length, 1, this.#now);
    this.#news({ type: 'ChildJobCompleted', data });
    const run = this.#pool.runs.get(lease.runId);
    if (run !== undefined && run.unfinished.size === 0) {
      const { hostId, vmId, runId: backupId } = lease;
      const refusal = { code: 'Bench', message: 'a run that ends' };
      const failedAt = new Date(this.#now).toISOString();
      // How it ended makes no difference to the pool but for the checkpoint.
      this.#news({ type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt } });
    }
    while (this.#waiting < JOBS_WAITING) this.request();
    this.settle();
  }

  /** Until there is nothing to decide and nothing to do. */
  settle(): void {
    for (;;) {
      const decisions = decisionsNow(this.#pool, this.#now);
      this.#append(decisions);
      this.decided += decisions.length;
      const actions = [...dueActions(this.#pool)];
      for (const action of actions) this.#append(confirmationOf(HOST, action, this.#now));
      if (decisions.length === 0 && actions.length === 0) return;
    }
  }

  #news(event: Parameters<typeof react>[0]): void {
    const at = new Date(this.#now).toISOString();
    const events = carryOut(this.#pool, react(event, at).command, at);
    this.#append(events);
    this.decided += events.length;
  }

  #append(events: readonly Event[]): void {
    for (const event of events) {
      evolve(this.#pool, event);
      if (event.type === 'PortsLeased') {
        this.#leases.set(event.data.leaseId, event.data);
        this.#waiting -= 1;
      } else if (event.type === 'PortsReleased') this.#leases.delete(event.data.leaseId);
    }
  }
}

function planOf(number: number): Plan {
  const sizeBytes = JOBS_PER_RUN * GiB;
  const data = { bucketBytes: GiB, buckets: Array.from({ length: JOBS_PER_RUN }, () => GiB) };
  const planned = plan(
    {
      ...{ hostId: HOST, vmId: `vm${number}` },
      disks: [
        {
          ...{ diskId: 'vda', sizeBytes, identity: { format: 'raw', inode: '1', sizeBytes } },
          ...{ allocated: data, tracking: { state: 'unusable', code: 'NoParent', reason: 'bench' } },
        },
      ],
      modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
    },
    {
      ...{ backupId: `run${number}`, kind: 'auto', mode: 'proxy-vm', parent: null },
      ...{ priority: defaultPolicy.backupPriority, askedAt: '2026-01-01T00:00:00Z' },
    },
    {
      ...defaultPolicy,
      ...{ childJobBytes: GiB, maxPortsPerProxy: PORTS, maxChildJobsPerProxy: PORTS },
      ...{ maxProxiesPerHost: PROXIES, maxDisksPerProxy: DISKS_PER_PROXY },
    },
    { activeProxies: [] },
  );
  if (!planned.ok) throw new Error(planned.refusal.message);
  return planned.value;
}
