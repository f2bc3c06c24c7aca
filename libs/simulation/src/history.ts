/**
 * A recorded log as something that can be simulated: the backups that were triggered, when they were and with what was found at their VMs, at hosts that are
 * as fast as they were seen to be, under other policies than then. What is not in the log cannot be asked again: a backup without an
 * inspection is left out, and said to be.
 */
import {
  CHUNK_BYTES,
  type Density,
  type EventData,
  type Inspection,
  noHostPolicy,
  type Recorded,
} from '@backhaul/contracts';
import { ok, type Result, refuse } from '@backhaul/kernel';
import { z } from 'zod';
import { chosenPolicies, type SourceOptions } from './described-source.ts';
import { type PolicyDescription, PolicyDescriptions } from './fleet.ts';
import { MeasuredHost } from './measured-host.ts';
import { Span } from './quantities.ts';
import type { Source } from './source.ts';
import type { BackupRequest, Workload } from './workload.ts';

/** What is asked of a history: the policies to compare, and the window that its backups are held to. */
export const Question = z.strictObject({
  policies: PolicyDescriptions.default({ 'as-it-was': {} }),
  window: Span.optional(),
});
export type Question = z.infer<typeof Question>;

export function readQuestion(described: unknown): Result<Question> {
  const question = Question.safeParse(described ?? {});
  if (question.success) return ok(question.data);
  return refuse({
    code: 'InvalidQuestion',
    message: `What is asked of the history cannot be read:\n${z.prettifyError(question.error)}`,
    wayOut:
      'Correct the fields named: of a history only policies and a window are described (docs/simulation.md).',
  });
}

type Triggered = EventData<'BackupTriggered'>;
interface PastBackup {
  readonly triggered: Triggered;
  inspection: Inspection | undefined;
}

/** Where data lies is kept in fewer parts than it was recorded in: a history may hold a hundred thousand inspections. */
const BUCKETS_MAX = 16;

/** Takes a log event by event, in its order. */
export class History {
  readonly #backups = new Map<string, PastBackup>();
  readonly #hosts = new Map<string, MeasuredHost>();
  readonly #limits = new Map<string, EventData<'HostPolicyAdopted'>['policy']>();
  #recoveries = 0;

  take(event: Recorded): void {
    const { data } = event;
    if (event.type === 'BackupTriggered')
      this.#backups.set(event.data.backupId, { triggered: event.data, inspection: undefined });
    else if (event.type === 'RecoveryTriggered') this.#recoveries += 1;
    else if (event.type === 'HostPolicyAdopted') this.#limits.set(event.data.hostId, event.data.policy);
    else if (event.type === 'VmInspected') {
      const past = this.#backups.get(event.data.backupId);
      if (past !== undefined) past.inspection = coarse(event.data);
    }
    if (!('hostId' in data) || data.hostId === undefined) return;
    const host = this.#hosts.get(data.hostId) ?? new MeasuredHost();
    this.#hosts.set(data.hostId, host);
    host.take(event);
  }

  /** `hours` is what the history has, up to its last request. */
  source(question: Question, { policies: named }: Pick<SourceOptions, 'policies'>): Result<Source> {
    const policies = chosenPolicies(Object.keys(question.policies), named);
    if (!policies.ok) return policies;
    const past = [...this.#backups.values()];
    const known = past.filter(({ inspection }) => inspection !== undefined);
    if (known.length === 0) return refuse(nothingToSimulate(past.length));
    const instants = known.map(({ triggered }) => Date.parse(triggered.requestedAt));
    const start = instants.reduce((a, b) => Math.min(a, b));
    const last = instants.reduce((a, b) => Math.max(a, b));
    const perHost = Map.groupBy(known, ({ triggered }) => triggered.hostId);
    const workloadOf = (hostId: string, policy: string) =>
      this.#workloadOf(hostId, perHost.get(hostId) ?? [], question.policies[policy] ?? {}, question.window);
    return ok({
      start,
      hours: Math.max(1 / 60, (last + 1 - start) / 3_600_000),
      hosts: perHost.size,
      vms: new Set(known.map(({ triggered: { hostId, vmId } }) => `${hostId}.${vmId}`)).size,
      notes: [
        ...this.#notes(past.length - known.length),
        ...[...perHost.keys()].map((hostId) => this.#said(hostId)),
      ],
      policies: policies.value,
      *workloads(policy) {
        for (const hostId of perHost.keys()) yield workloadOf(hostId, policy);
      },
    });
  }

  #workloadOf(
    hostId: string,
    past: readonly PastBackup[],
    { host: hostLimits, ...said }: PolicyDescription,
    window: number | undefined,
  ): Workload {
    const changes = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
    const requests = past.map(({ triggered, inspection }): BackupRequest => {
      const { vmId, kind, mode, policy, priority, origin, requestedAt } = triggered;
      const at = Date.parse(requestedAt);
      return {
        ...{ at, vmId, kind, mode, priority, scheduleId: origin.scheduleId },
        policy: { ...policy, ...changes },
        completeBy: window === undefined ? undefined : at + window,
        inspect: () => inspection as Inspection,
      };
    });
    return {
      hostId,
      abilities: (this.#hosts.get(hostId) ?? new MeasuredHost()).abilities(hostId),
      hostPolicy: { ...noHostPolicy, ...this.#limits.get(hostId), ...withoutUndefined(hostLimits ?? {}) },
      restorePoints: new Map(),
      requests: requests.sort((a, b) => a.at - b.at),
    };
  }

  #notes(withoutInspection: number): string[] {
    const notes = [];
    if (withoutInspection > 0)
      notes.push(`${withoutInspection} backups are left out: the log has no inspection of their VMs.`);
    if (this.#recoveries > 0)
      notes.push(
        `${this.#recoveries} recoveries are left out: only backups are simulated, and have the hosts to themselves.`,
      );
    return notes;
  }

  #said(hostId: string): string {
    const host = this.#hosts.get(hostId);
    if (host === undefined || host.unseen)
      return `host ${hostId}: no child job in the log tells how fast it is; the defaults are taken.`;
    const { proxyBootSeconds, attachSeconds, snapshotSeconds, portBytesPerSecond, bytesPerSecond } =
      host.abilities(hostId);
    const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB/s`;
    return `host ${hostId}, as it was seen: a snapshot in ${snapshotSeconds.toFixed(1)} s, a proxy in ${proxyBootSeconds.toFixed(1)} s, a hot-add in ${attachSeconds.toFixed(1)} s, ${mib(portBytesPerSecond)} a port, ${mib(bytesPerSecond)} in all.`;
  }
}

const withoutUndefined = <Fields extends object>(fields: Fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Field in keyof Fields]?: Exclude<Fields[Field], undefined>;
  };

const nothingToSimulate = (backups: number) => ({
  code: 'NothingToSimulate',
  message: `The log has ${backups} backups, and no inspection of any of them.`,
  wayOut: 'Export a log in which backups were planned: backhaul replay --export FILE.',
});

const coarse = ({ backupId: _, ...inspection }: EventData<'VmInspected'>): Inspection => ({
  ...inspection,
  disks: inspection.disks.map(({ allocated, tracking, ...disk }) => ({
    ...disk,
    allocated: coarseDensity(allocated),
    tracking:
      tracking.state === 'usable' ? { ...tracking, changed: coarseDensity(tracking.changed) } : tracking,
  })),
});

/** The same bytes in fewer, larger buckets. */
function coarseDensity({ bucketBytes, buckets }: Density): Density {
  const together = Math.ceil(buckets.length / BUCKETS_MAX);
  if (together <= 1) return { bucketBytes: Math.max(bucketBytes, CHUNK_BYTES), buckets };
  const sums = [];
  for (let first = 0; first < buckets.length; first += together)
    sums.push(buckets.slice(first, first + together).reduce((sum, bytes) => sum + bytes, 0));
  return { bucketBytes: bucketBytes * together, buckets: sums };
}
