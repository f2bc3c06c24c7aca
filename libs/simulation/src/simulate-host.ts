/**
 * One host on a virtual clock. What decides is the code that decides in production: `plan` of libs/planning for the quantity of proxies, and the
 * pool of libs/pool for everything at the host. What is simulated is the world around them: how long an action takes, how fast bytes
 * move, and the services that hand news on, which take no time.
 *
 * The order in which things are done is that of the worker of services/proxy-manager (host-worker.ts): confirmations first, then actions for
 * as many hands as there are, then decisions, until there is nothing more to do at this instant. Nothing here is a choice of proxies, ports
 * or turns but what those two libraries say.
 */
import { invariant } from '@backhaul/kernel';
import { emptyView, evolveView, plan } from '@backhaul/planning';
import {
  type Action,
  actionKey,
  carryOut,
  confirmsSomething,
  decisionsNow,
  dueActions,
  emptyPool,
  evolve,
  type HostEvent,
  idleUntil,
  type Pool,
  react,
} from '@backhaul/pool';
import { Agenda } from './agenda.ts';
import type { Chance } from './chance.ts';
import { confirmationOf, secondsOf } from './confirmations.ts';
import { HostRecord, type Period } from './host-record.ts';
import {
  type BackupResult,
  backupCompleted,
  jobCompleted,
  notStarted,
  type OpenBackup,
  openBackup,
  restorePointOf,
  resultOf,
} from './open-backup.ts';
import { type Lease, type ReadAll, SimulatedIngest } from './simulated-ingest.ts';
import { VmTurns } from './vm-turns.ts';
import type { BackupRequest, Workload } from './workload.ts';

export interface Listener {
  result(result: BackupResult): void;
  /** Every event of the host's stream, in order. */
  event?(event: HostEvent, at: number): void;
}

type Thing =
  | { readonly type: 'inspected'; readonly backup: OpenBackup }
  | { readonly type: 'acted'; readonly action: Action }
  | { readonly type: 'reads'; readonly lease: Lease }
  | { readonly type: 'manifest'; readonly backup: OpenBackup }
  /** Nothing has happened but that time went by, which may be what a proxy waits for. */
  | { readonly type: 'look' };

export function simulateHost(
  workload: Workload,
  period: Period,
  chance: Chance,
  listener: Listener,
): HostRecord {
  return new SimulatedHost(workload, period, chance, listener).run();
}

class SimulatedHost {
  readonly #workload: Workload;
  readonly #period: Period;
  readonly #chance: Chance;
  readonly #listener: Listener;
  readonly #pool: Pool;
  #view = emptyView;
  readonly #agenda = new Agenda<Thing>();
  readonly #ingest: SimulatedIngest;
  readonly #turns: VmTurns;
  readonly #record: HostRecord;
  readonly #open = new Map<string, OpenBackup>();
  /** What the host is at, by what it is done to. */
  readonly #running = new Set<string>();
  #now: number;
  #nextRequest = 0;
  /** Requests that have not had their first port. */
  #waiting = 0;
  #runsEver = 0;

  constructor(workload: Workload, period: Period, chance: Chance, listener: Listener) {
    this.#workload = workload;
    this.#period = period;
    this.#chance = chance;
    this.#listener = listener;
    this.#now = period.start;
    this.#pool = emptyPool(workload.hostId);
    const { bytesPerSecond } = workload.hostPolicy;
    const limit = Math.min(workload.abilities.bytesPerSecond, bytesPerSecond ?? Number.POSITIVE_INFINITY);
    this.#ingest = new SimulatedIngest(period.start, { ...workload.abilities, bytesPerSecond: limit });
    this.#turns = new VmTurns(workload.restorePoints);
    this.#record = new HostRecord(period);
  }

  run(): HostRecord {
    const { end, latest } = this.#period;
    this.#adoptPolicy();
    for (;;) {
      const at = this.#nextInstant();
      const over = this.#open.size === 0 && this.#nextRequest === this.#workload.requests.length;
      if (at === undefined || at > latest || (over && at > end)) break;
      this.#goTo(at);
      for (const job of this.#ingest.takeEnded()) this.#jobCompleted(job);
      for (let thing = this.#agenda.take(at); thing !== undefined; thing = this.#agenda.take(at))
        this.#happens(thing);
      for (let request = this.#requestAt(at); request !== undefined; request = this.#requestAt(at))
        this.#requested(request);
      this.#look();
    }
    if (this.#now < end) this.#goTo(end);
    const { hostId } = this.#workload;
    for (const backup of this.#open.values()) this.#listener.result(resultOf(hostId, backup, 'unfinished'));
    for (const request of this.#turns.stillWaiting())
      this.#listener.result(notStarted(hostId, request, 'unfinished'));
    return this.#record;
  }

  #adoptPolicy(): void {
    const { hostId, hostPolicy: policy } = this.#workload;
    const definedAt = new Date(this.#now).toISOString();
    this.#news({ type: 'HostPolicyDefined', data: { hostId, policy, revision: 1, definedAt } });
  }

  #nextInstant(): number | undefined {
    const requestAt = this.#workload.requests[this.#nextRequest]?.at;
    const next = [this.#agenda.next, this.#ingest.nextEnd, requestAt].filter((at) => at !== undefined);
    return next.length === 0 ? undefined : Math.min(...next);
  }

  #goTo(at: number): void {
    this.#record.advance(at, this.#ingest.bytesPerSecond);
    this.#ingest.advance(at);
    this.#now = at;
  }

  #after(seconds: number, thing: Thing, ...name: readonly string[]): void {
    const { hostId, abilities } = this.#workload;
    const about = this.#chance.about(abilities.variation, hostId, thing.type, ...name);
    this.#agenda.add(this.#now + Math.round(seconds * 1000 * about), thing);
  }

  #happens(thing: Thing): void {
    switch (thing.type) {
      case 'inspected':
        this.#inspected(thing.backup);
        break;
      case 'acted': {
        this.#running.delete(actionKey(thing.action));
        const confirmed = confirmationOf(this.#workload.hostId, thing.action, this.#now);
        this.#append(confirmed.filter((event) => confirmsSomething(this.#pool, event)));
        break;
      }
      case 'reads':
        this.#ingest.reads(thing.lease);
        break;
      case 'manifest':
        this.#completed(thing.backup);
        break;
      case 'look':
        break;
    }
  }

  #requestAt(at: number): BackupRequest | undefined {
    const request = this.#workload.requests[this.#nextRequest];
    if (request === undefined || request.at > at) return undefined;
    this.#nextRequest += 1;
    return request;
  }

  #requested(request: BackupRequest): void {
    const turn = this.#turns.ask(request);
    if (turn === 'starts') this.#starts(request);
    else if (turn === 'waits') this.#waits(1);
    else this.#listener.result(notStarted(this.#workload.hostId, request, turn));
  }

  #starts(request: BackupRequest): void {
    this.#runsEver += 1;
    const backup = openBackup(`${request.vmId}#${this.#runsEver}`, request, this.#now);
    this.#open.set(backup.runId, backup);
    this.#record.gauges.set('runsOpen', this.#open.size);
    this.#waits(1);
    this.#after(this.#workload.abilities.inspectSeconds, { type: 'inspected', backup }, backup.runId);
  }

  #waits(change: 1 | -1): void {
    this.#waiting += change;
    this.#record.gauges.set('runsWaiting', this.#waiting);
  }

  #inspected(backup: OpenBackup): void {
    const { runId, request } = backup;
    const { kind, mode, policy } = request;
    const since = this.#turns.restorePointOf(request.vmId);
    const parent = since === undefined ? null : restorePointOf(since.backupId, since.takenAt);
    const inspection = request.inspect(since, this.#now);
    const asked = { backupId: runId, kind, mode, parent };
    const precedence = {
      priority: request.priority,
      askedAt: new Date(request.at).toISOString(),
    };
    const planned = plan(inspection, { ...asked, ...precedence }, policy, this.#view);
    if (!planned.ok) {
      backup.failure = planned.refusal.message;
      this.#turnEnded(backup, 'refused');
      return;
    }
    backup.plan = planned.value;
    for (const job of planned.value.childJobs) backup.bytesLeft.set(job.childJobId, job.estimatedBytes);
    this.#news({ type: 'ProxiesCalculated', data: planned.value });
  }

  /** The pool is told what another service said. */
  #news(event: Parameters<typeof react>[0]): void {
    const at = new Date(this.#now).toISOString();
    this.#append(carryOut(this.#pool, react(event, at).command, at));
  }

  #look(): void {
    for (;;) {
      const actions = this.#startable();
      const decisions = decisionsNow(this.#pool, this.#now);
      this.#append(decisions);
      for (const action of actions) {
        this.#running.add(actionKey(action));
        const seconds = secondsOf(action, this.#workload.abilities);
        this.#after(seconds, { type: 'acted', action }, action.type, actionKey(action));
      }
      if (decisions.length === 0 && actions.length === 0) return;
    }
  }

  #startable(): Action[] {
    const hands = this.#workload.abilities.actionsAtOnce - this.#running.size;
    const found = new Map<string, Action>();
    if (hands <= 0) return [];
    for (const action of dueActions(this.#pool)) {
      const key = actionKey(action);
      if (this.#running.has(key) || found.has(key)) continue;
      found.set(key, action);
      if (found.size === hands) break;
    }
    return [...found.values()];
  }

  /** To the host's stream; and others hear of it at once. */
  #append(events: readonly HostEvent[]): void {
    for (const event of events) {
      evolve(this.#pool, event);
      this.#view = evolveView(this.#view, event);
      this.#record.follow(event);
      this.#listener.event?.(event, this.#now);
      this.#follow(event);
    }
  }

  #follow(event: HostEvent): void {
    if (!('runId' in event.data)) {
      if (event.type === 'ProxyIdle') this.#idles(event.data.proxyId);
      return;
    }
    const backup = this.#open.get(event.data.runId ?? '');
    if (backup === undefined) return;
    switch (event.type) {
      case 'SnapshotTaken':
        backup.takenAt ??= this.#now;
        break;
      case 'PortsLeased': {
        if (backup.firstPortAt === undefined) this.#waits(-1);
        backup.firstPortAt ??= this.#now;
        this.#ingest.leased(event.data, backup, this.#now);
        const { childJobSeconds } = this.#workload.abilities;
        this.#after(childJobSeconds, { type: 'reads', lease: event.data }, event.data.childJobId);
        break;
      }
      case 'PortsReleased':
        this.#ingest.released(event.data);
        break;
      case 'RunFailed':
        backup.failure = event.data.refusal.message;
        break;
      case 'RunClosed':
        this.#turnEnded(backup, backup.completedAt === undefined ? 'failed' : 'completed');
        break;
    }
  }

  #idles(proxyId: string): void {
    const proxy = this.#pool.proxies.get(proxyId);
    const until = proxy === undefined ? undefined : idleUntil(this.#pool, proxy);
    if (until !== undefined) this.#agenda.add(until, { type: 'look' });
  }

  #jobCompleted({ lease, backup, bytes, since }: ReadAll): void {
    const data = jobCompleted(lease, bytes, this.#now - since, this.#now);
    this.#news({ type: 'ChildJobCompleted', data });
    if (backup.bytesLeft.size > 0) return;
    this.#after(this.#workload.abilities.manifestSeconds, { type: 'manifest', backup }, backup.runId);
  }

  #completed(backup: OpenBackup): void {
    const { runId, request, takenAt = this.#now, plan: planned } = backup;
    if (backup.failure !== undefined) return;
    invariant(planned !== undefined, `Run ${runId} was read without a plan`);
    backup.completedAt = this.#now;
    this.#turns.completed(request.vmId, { backupId: runId, takenAt });
    const data = backupCompleted(planned, backup.bytesRead, takenAt, this.#now);
    this.#news({ type: 'BackupCompleted', data });
  }

  /** All that the run had is given back: the VM's turn goes to the next in its line. */
  #turnEnded(backup: OpenBackup, outcome: BackupResult['outcome']): void {
    if (backup.firstPortAt === undefined) this.#waits(-1);
    this.#open.delete(backup.runId);
    this.#record.gauges.set('runsOpen', this.#open.size);
    this.#listener.result(resultOf(this.#workload.hostId, backup, outcome));
    const next = this.#turns.passOn(backup.request.vmId);
    if (next === undefined) return;
    // It waited for its turn; now it waits for its first port.
    this.#waits(-1);
    this.#starts(next);
  }
}
