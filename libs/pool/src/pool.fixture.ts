/** A host without a hypervisor: drives the pure core in tests by confirming, refusing or losing what it is asked to do. */
import assert from 'node:assert/strict';
import {
  defaultPolicy,
  type HealthState,
  type Observation,
  type Plan,
  type Policy,
  type Purpose,
  type RecoveryPlan,
  type Sighting,
} from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import type { Action } from './actions.ts';
import { carryOut, type HostCommand } from './commands.ts';
import { confirmed, FILL_BYTES } from './confirmed.fixture.ts';
import { findDrift, settledIn } from './drift.ts';
import { poolFrom, stateOf } from './kept-state.ts';
import { decisionsNow, dueActions } from './next-steps.ts';
import type { Occasion } from './occasion.ts';
import { emptyPool, evolve, type HostEvent, isInstant, type Pool, type RecoveryOrder } from './pool.ts';
import type { Silences } from './silence.ts';

export { confirmed } from './confirmed.fixture.ts';

const MiB = 1024 ** 2;

export const HOST = 'lab';

/** A plan with `jobs[d]` child jobs of 64 MiB on disk `d<d>`. */
export function planOf(
  name: string,
  jobs: readonly number[],
  proxies: number,
  policy: Partial<Policy> = {},
): Plan {
  const backupId = derivedId('test', name);
  const full = { ...defaultPolicy, childJobBytes: 64 * MiB, ...policy };
  const mode = proxies === 0 ? 'direct-to-host' : 'proxy-vm';
  return {
    backupId,
    hostId: HOST,
    vmId: name,
    parent: null,
    policy: full,
    priority: 'normal',
    askedAt: null,
    kind: 'full',
    mode,
    modeReason: 'test',
    disks: jobs.map((count, d) => ({
      diskId: `d${d}`,
      sizeBytes: count * 64 * MiB,
      kind: 'full',
      kindReason: 'test',
      bytesToRead: count * 64 * MiB,
      childJobs: Math.max(1, count),
    })),
    childJobs: jobs.flatMap((count, d) =>
      Array.from({ length: count }, (_, i) => ({
        childJobId: `${backupId}.d${d}.${i}`,
        diskId: `d${d}`,
        offset: i * 64 * MiB,
        length: 64 * MiB,
        estimatedBytes: 64 * MiB,
      })),
    ),
    arithmetic: {
      totalBytes: 0,
      childJobBytes: full.childJobBytes,
      childJobs: 0,
      maxChildJobsPerProxy: full.maxChildJobsPerProxy,
      maxPortsPerProxy: full.maxPortsPerProxy,
      portsPerChildJob: full.portsPerChildJob,
      capacityPerProxy: 1,
      thresholdShare: 1,
    },
    proxiesCalculated: proxies,
    proxies,
    expectedShared: 0,
    waves: 1,
    limitedBy: [],
    rejected: [],
  };
}

/** The plan of a recovery with `streams[d]` data streams of 64 MiB on disk `d<d>`. */
export function recoveryPlanOf(
  name: string,
  streams: readonly number[],
  proxies: number,
  policy: Partial<Policy> = {},
): RecoveryPlan {
  const {
    backupId,
    hostId,
    vmId,
    policy: full,
    mode,
    modeReason,
    disks,
    childJobs,
  } = planOf(name, streams, proxies, policy);
  return {
    recoveryId: backupId,
    backupId: derivedId('test', 'the restore point'),
    manifestDigest: '0'.repeat(64),
    ...{ hostId, vmId, policy: full, mode, modeReason, childJobs },
    ...{ priority: 'normal', askedAt: null },
    disks: disks.map(({ diskId, sizeBytes, childJobs: count }) => ({
      ...{ diskId, sizeBytes },
      bytesToWrite: sizeBytes,
      streams: count,
    })),
    ...{ replace: false, start: false, verify: false, machine: { memoryMiB: 64, cpus: 1 } },
    arithmetic: {
      totalBytes: 0,
      disks: disks.length,
      maxStreamsPerDisk: full.maxStreamsPerDisk,
      streams: childJobs.length,
      portsPerStream: full.portsPerStream,
      maxPortsPerProxy: full.maxPortsPerProxy,
      maxChildJobsPerProxy: full.maxChildJobsPerProxy,
      capacityPerProxy: 1,
      thresholdShare: 1,
      activeProxies: 0,
    },
    ...{ proxiesCalculated: proxies, proxies, expectedShared: 0, waves: 1, limitedBy: [], rejected: [] },
  };
}

/** The plan of an instant recovery: no data streams, whatever would be planned for them. */
export const instantPlanOf = (
  ...[name, streams, , policy]: Parameters<typeof recoveryPlanOf>
): RecoveryPlan => ({
  ...recoveryPlanOf(name, streams, 0, policy),
  childJobs: [],
  start: true,
  instant: { fillBytesPerSecond: null },
});

/** A pool with its whole history, which can be folded again to show that the state is in the events alone. */
export class TestPool {
  readonly history: HostEvent[] = [];
  pool: Pool = emptyPool(HOST);
  /** What the host says of VMs that run from mounts. */
  fills: Observation['fills'] = [];
  /** The build of the appliance that the host says it has. */
  appliance: string | undefined;
  now = Date.parse('2026-01-01T00:00:00Z');
  #silences: Silences = new Map();

  /** `_on`: what the append comes of, for who records it. */
  append(events: readonly HostEvent[], _on: Occasion['kind'] | 'news' = 'confirmation'): void {
    for (const event of events) {
      this.history.push(event);
      evolve(this.pool, event);
    }
  }

  instant(): string {
    return new Date(this.now).toISOString();
  }

  /** What a process that starts now would know. */
  restart(): void {
    this.pool = this.history.reduce(evolve, emptyPool(HOST));
  }

  /** The same, from what was kept. */
  restartFromKept(): void {
    const kept = poolFrom(stateOf(this.pool));
    this.restart();
    assert.deepStrictEqual(kept, this.pool);
    this.pool = kept;
  }

  command(command: HostCommand, at = this.instant()): HostEvent[] {
    const decided = carryOut(this.pool, command, at);
    this.append(decided, 'news');
    return decided;
  }

  request(plan: Plan | RecoveryPlan): void {
    const at = this.instant();
    this.command(
      'recoveryId' in plan ? { type: 'RequestRecovery', plan, at } : { type: 'RequestActivation', plan, at },
    );
  }

  /** Appends decisions until none is left; the actions that are due then. */
  settle(): readonly Action[] {
    for (let pass = 0; pass < 1000; pass += 1) {
      const decisions = decisionsNow(this.pool, this.now);
      if (decisions.length === 0) return [...dueActions(this.pool)];
      this.append(decisions, 'look');
    }
    throw new Error('Decisions never came to an end');
  }

  /** Confirms every action until none is due, as a host does that never fails. */
  run(): void {
    for (let pass = 0; pass < 1000; pass += 1) {
      const actions = this.settle();
      if (actions.length === 0) return;
      for (const action of actions) this.confirm(action);
    }
    throw new Error('Actions never came to an end');
  }

  /** As a host does that never fails: it starts a VM that is to be filled, and ends the filling of what is copied. */
  confirm(action: Action): void {
    const event = action.type === 'FillTarget' ? this.#filledOn(action.order) : undefined;
    this.append(event === undefined ? confirmed(action, this.instant()) : [event]);
  }

  #filledOn({ hostId, runId, vmId }: RecoveryOrder): HostEvent | undefined {
    const before = this.fills.find(({ targetId }) => targetId === runId);
    this.fills = this.fills.filter((fill) => fill !== before);
    if (before?.state === 'copied')
      return { type: 'TargetFilled', data: { hostId, runId, vmId, filledBytes: before.totalBytes } };
    const totalBytes = before?.totalBytes ?? FILL_BYTES;
    // All of it is only said of what is copied.
    const filledBytes = Math.min(before?.filledBytes ?? 0, totalBytes - 1);
    const filling = {
      targetId: runId,
      vmId,
      state: 'filling',
      filledBytes,
      totalBytes,
      detail: 'it runs',
    } as const;
    this.fills = [...this.fills, filling];
    return { type: 'FillProgressed', data: { hostId, runId, filledBytes, totalBytes } };
  }

  /** Whatever waits for its restore point to be served has it now. */
  openMounts(): void {
    for (const run of [...this.pool.runs.values()].filter(isInstant)) {
      const mounts = Object.fromEntries(
        run.order.disks.map(({ diskId }) => [diskId, `nbd+unix:///${diskId}?socket=/m`]),
      );
      this.command({ type: 'TakeMounts', runId: run.order.runId, mounts });
    }
  }

  /** Every VM that is being filled has so much more. */
  fill(bytes: number): void {
    this.fills = this.fills.map((fill) => {
      if (fill.state !== 'filling') return fill;
      const filledBytes = Math.min(fill.totalBytes, fill.filledBytes + bytes);
      return { ...fill, filledBytes, state: filledBytes === fill.totalBytes ? 'copied' : 'filling' };
    });
  }

  /** The host is asked what is really there: all that the events say, or no disks, or as `proxy` and `disk` say they are seen. */
  observe({
    dead = false,
    disks = true,
    proxy: proxyState = dead ? 'gone' : 'alive',
    disk: diskState = 'alive',
  }: {
    dead?: boolean;
    disks?: boolean;
    proxy?: Sighting;
    disk?: Sighting | ((runId: string) => Sighting);
  } = {}): void {
    const before = settledIn(this.pool);
    const proxies = [...this.pool.proxies.values()].map(({ proxyId, attachments }) => ({
      proxyId,
      state: proxyState,
      detail: proxyState === 'alive' ? 'up' : 'killed',
      attachments: [...attachments.values()].map(({ runId, diskId }) => ({
        ownerId: runId,
        diskId,
      })),
      readings: [],
    }));
    const runs = disks ? [...this.pool.runs.values()] : [];
    const stateOf = typeof diskState === 'string' ? () => diskState : diskState;
    const of = (purpose: Purpose) =>
      runs
        .map(({ order }) => order)
        .filter((order) => order.purpose === purpose)
        .map(({ runId, vmId }) => {
          const state = stateOf(runId);
          const detail = state === 'alive' ? 'up' : 'its storage does not answer';
          return { snapshotId: runId, targetId: runId, vmId, state, detail };
        });
    const [snapshots, targets] = [of('backup'), of('recovery')];
    const build = this.appliance === undefined ? {} : { appliance: this.appliance };
    const seen = { ...build, proxies, snapshots, targets, fills: this.fills };
    const drift = findDrift(this.pool, before, seen, this.now, this.#silences);
    this.#silences = drift.silences;
    this.append(drift.events, 'drift');
  }

  /** `d0.1@p1-…:2` of every lease, without the backup's id: readable in expectations. */
  leases(): string[] {
    return [...this.pool.runs.values()]
      .flatMap((run) => [...run.jobs.values()])
      .flatMap(({ lease }) => (lease === undefined ? [] : [lease]))
      .map(
        (lease) =>
          `${lease.vmId}.${lease.childJobId.split('.').slice(1).join('.')}@${lease.proxyId.split('-')[0]}:${lease.ports.map(({ port }) => port).join('+')}`,
      );
  }

  finishJob(
    childJobId: string,
    completed = true,
    retryable = true,
    moved = { bytes: 64 * MiB, milliseconds: 1000 },
  ): HostEvent[] {
    for (const run of this.pool.runs.values()) {
      const lease = run.jobs.get(childJobId)?.lease;
      if (lease === undefined) continue;
      const { runId, leaseId } = lease;
      return this.command({
        type: 'ReleasePorts',
        runId,
        childJobId,
        leaseId,
        completed,
        ...(completed ? { moved } : {}),
        reason: 'the read failed',
        retryable,
      });
    }
    return [];
  }
}

export const healthChanged = (
  proxyId: string,
  health: HealthState,
  was: HealthState = 'good',
  detail = health === 'good' ? 'all is well' : 'memory available 3 % (sick below 5)',
): HostEvent => ({
  type: 'ProxyHealthChanged',
  data: { hostId: HOST, proxyId, was, health, items: [], detail },
});
