/** What became of all requests under one policy: hosts are added one by one, and nothing is kept of a host but sums and two numbers a backup. */
import { GAUGES, type Gauge } from './gauges.ts';
import type { HostRecord } from './host-record.ts';
import type { BackupResult } from './open-backup.ts';
import { type Quantiles, quantilesOf, shareBy } from './quantiles.ts';

export interface MissedWindow {
  readonly hostId: string;
  readonly vmId: string;
  readonly dueAt: string;
  readonly completeBy: string;
  /** Null: it never was there. */
  readonly completedAt: string | null;
  readonly outcome: BackupResult['outcome'];
}

export interface PolicyOutcome {
  readonly policy: string;
  readonly backups: Readonly<Record<BackupResult['outcome'] | 'requested', number>>;
  readonly modes: Readonly<Record<'proxy-vm' | 'direct-to-host', number>>;
  readonly kinds: Readonly<Record<'full' | 'incremental', number>>;
  readonly bytes: { readonly planned: number; readonly read: number };
  /** From coming due to the first port, and to the restore point; of those that came to it. */
  readonly waitingSeconds: Quantiles;
  readonly finishingSeconds: Quantiles;
  /** Share of all requests that had their restore point within so many seconds of coming due. */
  readonly finishedWithin: readonly { readonly seconds: number; readonly share: number }[];
  readonly lastCompletedAt: string | null;
  readonly windows: {
    readonly given: number;
    readonly missed: number;
    readonly worst: readonly MissedWindow[];
  };
  readonly proxies: {
    readonly started: number;
    readonly shared: number;
    readonly lost: number;
    readonly hours: number;
  };
  readonly ports: {
    readonly hoursUp: number;
    readonly hoursInUse: number;
    /** The most that was in use at one host at one moment. */
    readonly mostAtAHost: number;
  };
  /** Why backups failed or were refused, and how often. */
  readonly reasons: readonly { readonly reason: string; readonly count: number }[];
  /** Averages over stretches of the time, of all hosts together. */
  readonly course: { readonly bucketSeconds: number } & Readonly<Record<Gauge, readonly number[]>>;
  readonly events: number;
}

const WORST_SHOWN = 100;
const REASONS_SHOWN = 10;

export class Tally {
  readonly #policy: string;
  readonly #bucketMilliseconds: number;
  readonly #latest: number;
  readonly #backups = { requested: 0, completed: 0, failed: 0, refused: 0, skipped: 0, unfinished: 0 };
  readonly #modes = { 'proxy-vm': 0, 'direct-to-host': 0 };
  readonly #kinds = { full: 0, incremental: 0 };
  readonly #bytes = { planned: 0, read: 0 };
  readonly #waiting: number[] = [];
  readonly #finishing: number[] = [];
  readonly #reasons = new Map<string, number>();
  readonly #areas = new Map<Gauge, Float64Array>();
  #late: { readonly by: number; readonly result: BackupResult }[] = [];
  readonly #windows = { given: 0, missed: 0 };
  readonly #proxies = { started: 0, shared: 0, lost: 0 };
  #mostPorts = 0;
  #lastCompletedAt: number | undefined;
  #endedAt = Number.NEGATIVE_INFINITY;
  #events = 0;

  constructor(policy: string, bucketMilliseconds: number, latest: number) {
    this.#policy = policy;
    this.#bucketMilliseconds = bucketMilliseconds;
    this.#latest = latest;
  }

  result(result: BackupResult): void {
    const { at, outcome, mode, kind, completedAt, firstPortAt, reason } = result;
    this.#backups.requested += 1;
    this.#backups[outcome] += 1;
    if (mode !== undefined) this.#modes[mode] += 1;
    if (kind !== undefined) this.#kinds[kind] += 1;
    this.#bytes.planned += result.bytesPlanned;
    this.#bytes.read += result.bytesRead;
    if (firstPortAt !== undefined) this.#waiting.push((firstPortAt - at) / 1000);
    if (completedAt !== undefined) {
      this.#finishing.push((completedAt - at) / 1000);
      this.#lastCompletedAt = Math.max(this.#lastCompletedAt ?? completedAt, completedAt);
    }
    if (reason !== undefined) this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
    this.#window(result);
  }

  #window(result: BackupResult): void {
    const { completeBy, completedAt } = result;
    // The clock may stop before a window ends: what was not there by then has not missed it.
    if (completeBy === undefined || (completedAt === undefined && completeBy > this.#latest)) return;
    this.#windows.given += 1;
    const by = (completedAt ?? Number.POSITIVE_INFINITY) - completeBy;
    if (by <= 0) return;
    this.#windows.missed += 1;
    this.#late.push({ by, result });
    if (this.#late.length >= 10 * WORST_SHOWN) this.#late = this.#worst();
  }

  #worst() {
    return [...this.#late]
      .sort((a, b) => (a.by === b.by ? a.result.at - b.result.at : b.by - a.by))
      .slice(0, WORST_SHOWN);
  }

  host({ gauges, proxiesStarted, proxiesShared, proxiesLost, endedAt, events }: HostRecord): void {
    for (const gauge of GAUGES) {
      const area = gauges.areaOf(gauge);
      const sum = this.#areas.get(gauge);
      if (sum === undefined) this.#areas.set(gauge, area);
      else for (const [index, value] of area.entries()) sum[index] = (sum[index] ?? 0) + value;
    }
    this.#proxies.started += proxiesStarted;
    this.#proxies.shared += proxiesShared;
    this.#proxies.lost += proxiesLost;
    this.#mostPorts = Math.max(this.#mostPorts, gauges.peakOf('portsInUse'));
    this.#endedAt = Math.max(this.#endedAt, endedAt);
    this.#events += events;
  }

  outcome(start: number): PolicyOutcome {
    const hoursOf = (gauge: Gauge): number =>
      (this.#areas.get(gauge) ?? new Float64Array()).reduce((sum, area) => sum + area, 0) / 3_600_000;
    const buckets = Math.ceil((this.#endedAt - start) / this.#bucketMilliseconds);
    const course = Object.fromEntries(
      GAUGES.map((gauge) => [
        gauge,
        [...(this.#areas.get(gauge) ?? [])]
          .slice(0, buckets)
          .map((area) => Number((area / this.#bucketMilliseconds).toFixed(3))),
      ]),
    ) as Record<Gauge, number[]>;
    const instant = (at: number): string => new Date(at).toISOString();
    return {
      policy: this.#policy,
      backups: this.#backups,
      modes: this.#modes,
      kinds: this.#kinds,
      bytes: this.#bytes,
      waitingSeconds: quantilesOf(this.#waiting),
      finishingSeconds: quantilesOf(this.#finishing),
      finishedWithin: shareBy(this.#finishing, this.#backups.requested),
      lastCompletedAt: this.#lastCompletedAt === undefined ? null : instant(this.#lastCompletedAt),
      windows: {
        ...this.#windows,
        worst: this.#worst().map(({ result: { hostId, vmId, at, completeBy, completedAt, outcome } }) => ({
          ...{ hostId, vmId, dueAt: instant(at), completeBy: instant(completeBy ?? at), outcome },
          completedAt: completedAt === undefined ? null : instant(completedAt),
        })),
      },
      proxies: { ...this.#proxies, hours: hoursOf('proxiesUp') },
      ports: {
        hoursUp: hoursOf('portsUp'),
        hoursInUse: hoursOf('portsInUse'),
        mostAtAHost: this.#mostPorts,
      },
      reasons: [...this.#reasons]
        .map(([reason, count]) => ({ reason, count }))
        .sort((a, b) => b.count - a.count)
        .slice(0, REASONS_SHOWN),
      course: { bucketSeconds: this.#bucketMilliseconds / 1000, ...course },
      events: this.#events,
    };
  }
}
