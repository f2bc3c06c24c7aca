/**
 * What a host can do, from what its log says it did. Times are medians, so that one bad boot does not make a slow host. Nothing is taken to be
 * faster than it was ever seen: what a proxy and the host carry is the most that they carried at one moment.
 */
import type { Recorded } from '@backhaul/contracts';
import { HostDescription } from './fleet.ts';
import type { HostAbilities } from './workload.ts';

type Timed = Exclude<
  keyof HostAbilities,
  | 'variation'
  | 'actionsAtOnce'
  | 'portBytesPerSecond'
  | 'proxyBytesPerSecond'
  | 'directBytesPerSecond'
  | 'bytesPerSecond'
>;

interface ReadJob {
  readonly from: number;
  readonly to: number;
  /** Bytes per second, through so many ports. */
  readonly rate: number;
  readonly ports: number;
  readonly proxyId: string;
}

/** Less than that says more about the clock than about the way. */
const BYTES_TELLING = 4 * 1024 * 1024;
/** Ports that carried less had to share: the best of them show what a port can do, without the luckiest. */
const PORT_QUANTILE = 0.9;

/** Of one host. Events in the order of the log. */
export class MeasuredHost {
  readonly #seconds = new Map<Timed, number[]>();
  readonly #since = new Map<string, number>();
  readonly #leases = new Map<string, { readonly at: number; readonly ports: number }>();
  readonly #jobs: ReadJob[] = [];

  take(event: Recorded): void {
    const at = Date.parse(event.recordedAt);
    switch (event.type) {
      case 'BackupTriggered':
        this.#since.set(`asked ${event.data.backupId}`, at);
        break;
      case 'ActivationRequested':
        this.#note('inspectSeconds', `asked ${event.data.runId}`, at);
        break;
      case 'SnapshotRequested':
        this.#since.set(`snapshot ${event.data.runId}`, at);
        break;
      case 'SnapshotTaken':
        this.#note('snapshotSeconds', `snapshot ${event.data.runId}`, at);
        this.#since.set(`direct ${event.data.runId}`, at);
        break;
      case 'DirectEndpointOpened':
        this.#note('directOpenSeconds', `direct ${event.data.runId}`, at);
        break;
      case 'ProxyActivationRequested':
        this.#since.set(`boot ${event.data.proxyId}`, at);
        break;
      case 'ProxyActivated':
        this.#note('proxyBootSeconds', `boot ${event.data.proxyId}`, at);
        this.#since.set(`up ${event.data.proxyId}`, at);
        break;
      case 'ProxyRetiring':
        this.#since.set(`stop ${event.data.proxyId}`, at);
        break;
      case 'ProxyDeactivated':
        this.#note('proxyStopSeconds', `stop ${event.data.proxyId}`, at);
        this.#since.delete(`up ${event.data.proxyId}`);
        break;
      case 'DiskAttachRequested': {
        const { proxyId, runId, diskId } = event.data;
        this.#since.set(`attach ${proxyId} ${runId} ${diskId}`, at);
        break;
      }
      case 'DiskAttached': {
        const { proxyId, runId, diskId } = event.data;
        const key = `attach ${proxyId} ${runId} ${diskId}`;
        // It was asked for before the proxy was up.
        const up = this.#since.get(`up ${proxyId}`) ?? 0;
        this.#since.set(key, Math.max(up, this.#since.get(key) ?? at));
        this.#note('attachSeconds', key, at);
        break;
      }
      case 'DiskDetached': {
        const { runId, diskId } = event.data;
        this.#note('detachSeconds', `read ${runId} ${diskId}`, at);
        this.#since.set(`release ${runId}`, at);
        break;
      }
      case 'RunEnding':
        // Of a run without proxies nothing is detached.
        this.#since.set(`release ${event.data.runId}`, at);
        break;
      case 'SnapshotReleased':
        this.#note('releaseSeconds', `release ${event.data.runId}`, at);
        break;
      case 'PortsLeased':
        this.#leases.set(event.data.leaseId, { at, ports: event.data.ports.length });
        break;
      case 'ChildJobStarted':
        this.#started(event.data.leaseId, at);
        break;
      case 'ChildJobCompleted':
        this.#read(event, at);
        break;
      case 'BackupCompleted':
        this.#note('manifestSeconds', `last ${event.data.backupId}`, at);
        break;
    }
  }

  #started(leaseId: string, at: number): void {
    const leasedAt = this.#leases.get(leaseId)?.at;
    if (leasedAt !== undefined) this.#add('childJobSeconds', at - leasedAt);
  }

  #read({ data }: Recorded<'ChildJobCompleted'>, at: number): void {
    const { leaseId, readBytes, milliseconds, proxyId, backupId, diskId } = data;
    const ports = this.#leases.get(leaseId)?.ports ?? 1;
    this.#leases.delete(leaseId);
    this.#since.set(`last ${backupId}`, at);
    this.#since.set(`read ${backupId} ${diskId}`, at);
    if (readBytes < BYTES_TELLING || milliseconds <= 0) return;
    const rate = (readBytes * 1000) / milliseconds;
    this.#jobs.push({ from: at - milliseconds, to: at, rate, ports, proxyId });
  }

  #note(what: Timed, key: string, at: number): void {
    const since = this.#since.get(key);
    this.#since.delete(key);
    if (since !== undefined) this.#add(what, at - since);
  }

  #add(what: Timed, milliseconds: number): void {
    const known = this.#seconds.get(what);
    const seconds = Math.max(0, milliseconds) / 1000;
    if (known === undefined) this.#seconds.set(what, [seconds]);
    else known.push(seconds);
  }

  /** What was never seen is as it is by default. */
  abilities(hostId: string): HostAbilities {
    const usual: HostAbilities = HostDescription.parse({ name: hostId });
    const times = Object.fromEntries([...this.#seconds].map(([what, seen]) => [what, quantile(seen, 0.5)]));
    const isDirect = ({ proxyId }: ReadJob): boolean => proxyId.startsWith('direct-');
    const proxied = this.#jobs.filter((job) => !isDirect(job));
    const rateOf = ({ rate, ports }: ReadJob): number => rate / ports;
    const port = quantile(proxied.map(rateOf), PORT_QUANTILE);
    const direct = quantile(this.#jobs.filter(isDirect).map(rateOf), PORT_QUANTILE);
    const perProxy = Map.groupBy(proxied, ({ proxyId }) => proxyId);
    const proxy = Math.max(0, ...[...perProxy.values()].map(mostAtOnce));
    return {
      ...usual,
      ...times,
      portBytesPerSecond: port || usual.portBytesPerSecond,
      proxyBytesPerSecond: proxy || usual.proxyBytesPerSecond,
      directBytesPerSecond: direct || usual.directBytesPerSecond,
      bytesPerSecond: mostAtOnce(this.#jobs) || usual.bytesPerSecond,
    };
  }

  /** What is not measured, for a note. */
  get unseen(): boolean {
    return this.#jobs.length === 0;
  }
}

/** 0 of nothing. */
function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

/** The most that these jobs moved together at one moment, each at its own average. */
function mostAtOnce(jobs: readonly ReadJob[]): number {
  const changes = jobs.flatMap(({ from, to, rate }) => [
    { at: from, change: rate },
    { at: to, change: -rate },
  ]);
  // Of one that ends when another begins, the end comes first.
  changes.sort((a, b) => a.at - b.at || a.change - b.change);
  let [now, most] = [0, 0];
  for (const { change } of changes) {
    now += change;
    most = Math.max(most, now);
  }
  return most;
}
