/**
 * What the host says against what the events say. Pure: two pictures in, the differences out.
 * Only what was settled both before and after the host was asked is compared: what changes meanwhile is not drift.
 */
import type { Observation, Sighting } from '@backhaul/contracts';
import type { Action } from './actions.ts';
import { dated } from './dated.ts';
import {
  attachmentKey,
  directProxyId,
  type HostEvent,
  isInstant,
  type Pool,
  type PooledProxy,
  type Run,
  releaseOf,
} from './pool.ts';
import { type Silences, SilenceWatch } from './silence.ts';

/** A proxy on which so many child jobs in a row were interrupted is given up, although it seems to be up. */
const INTERRUPTIONS_IN_ROW_MAX = 3;
/** A look that a proxy leaves without an answer takes long itself; two may be a moment apart when somebody waits to hear. */
const PROXY_PATIENCE_MILLISECONDS = 1_000;
/** Storage may stall for minutes, and most of what is lost says so itself: this ends only what would else be silent for ever. */
const DISKS_PATIENCE_MILLISECONDS = 300_000;

/** Keys of what the events say is there: `proxy <id>`, `attachment <proxy> <run>.<disk>`, `disks <run>`, `fill <run>`. */
export type Settled = ReadonlySet<string>;

export function settledIn(pool: Pool): Settled {
  const keys = new Set<string>();
  for (const proxy of pool.proxies.values()) {
    if (proxy.kind !== 'proxy' || proxy.state !== 'active') continue;
    keys.add(`proxy ${proxy.proxyId}`);
    for (const [key, attachment] of proxy.attachments) {
      if (attachment.state === 'attached') keys.add(`attachment ${proxy.proxyId} ${key}`);
    }
  }
  for (const run of pool.runs.values()) {
    if (run.outcome !== undefined) continue;
    // Those of an instant recovery are served by nobody, and are a VM before the events say so.
    if (run.hold === 'ready' && !isInstant(run)) keys.add(`disks ${run.order.runId}`);
    if (run.hold === 'filling' && !run.fill.due) keys.add(`fill ${run.order.runId}`);
  }
  return keys;
}

export interface Drift {
  readonly events: HostEvent[];
  /** Things nobody knows of. Removed only when two observations in a row have seen them. */
  readonly strays: Extract<Action, { type: 'RemoveStray' }>[];
  /** For the next look. */
  readonly silences: Silences;
}

/** `now` in milliseconds since the epoch; `silences` as the look before left them. */
export function findDrift(
  pool: Pool,
  settledBefore: Settled,
  seen: Observation,
  now: number,
  silences: Silences = new Map(),
): Drift {
  const watch = new SilenceWatch(silences, now);
  /** Runs of which nobody can say now whether their disks are there. */
  const inDoubt = new Set<string>();
  const settled = settledIn(pool);
  const lasting = (key: string): boolean => settledBefore.has(key) && settled.has(key);
  const events: HostEvent[] = [];
  const seenProxies = new Map(seen.proxies.map((proxy) => [proxy.proxyId, proxy]));
  if (seen.appliance !== undefined && seen.appliance !== pool.appliance)
    events.push({ type: 'ApplianceObserved', data: { hostId: pool.hostId, appliance: seen.appliance } });
  const seenDisks = new Map<string, { readonly state: Sighting; readonly detail: string }>();
  for (const snapshot of seen.snapshots) seenDisks.set(snapshot.snapshotId, snapshot);
  for (const target of seen.targets) seenDisks.set(target.targetId, target);

  // What became of disks comes first: a proxy that is well is said to be so of interruptions that nothing else explains (pool.ts).
  for (const run of pool.runs.values()) {
    if (lasting(`fill ${run.order.runId}`)) events.push(...fillSeen(run, seen));
    const { hostId, runId } = run.order;
    const found = seenDisks.get(runId);
    if (!lasting(`disks ${runId}`)) continue;
    const heard = watch.hears(`disks ${runId}`, found?.state ?? 'gone', DISKS_PATIENCE_MILLISECONDS);
    if (heard.verdict === 'undecided') {
      inDoubt.add(runId);
      continue;
    }
    if (found !== undefined && heard.verdict === 'alive') {
      const direct = pool.proxies.get(directProxyId(runId));
      // The run's own limit of attempts ends it when the host's export is up and its child jobs still fail.
      if (direct?.suspect === true) events.push(seenHealthy(hostId, direct.proxyId, found.detail));
      continue;
    }
    const [type, because, what] =
      run.order.purpose === 'backup'
        ? (['SnapshotLost', 'snapshot-lost', 'snapshot'] as const)
        : (['TargetLost', 'target-lost', 'target'] as const);
    for (const job of run.jobs.values()) if (job.lease) events.push(releaseOf(job.lease, because));
    const reason = reasonOf(found, heard.silentSeconds, `the host knows no such ${what}`);
    events.push({ type, data: { hostId, runId, reason } });
  }
  for (const proxy of pool.proxies.values()) {
    if (!lasting(`proxy ${proxy.proxyId}`)) continue;
    const { hostId } = pool;
    const { proxyId } = proxy;
    const found = seenProxies.get(proxyId);
    const heard = watch.hears(`proxy ${proxyId}`, found?.state ?? 'gone', PROXY_PATIENCE_MILLISECONDS);
    if (heard.verdict === 'undecided') continue;
    if (found === undefined || heard.verdict === 'gone') {
      const reason = reasonOf(found, heard.silentSeconds, 'the host knows no such proxy');
      events.push({ type: 'ProxyLost', data: { hostId, proxyId, reason } });
      continue;
    }
    const users = [...(pool.due.users.get(proxyId) ?? [])];
    const doubted = users.filter((runId) => inDoubt.has(runId)).length;
    // Where nobody's disks answer nothing would come of work there: it waits until they do, or are lost, which explains the interruptions.
    const isJudged = proxy.suspect && (doubted === 0 || doubted < users.length);
    const verdict = isJudged ? verdictOn(hostId, proxy, found.detail, doubted > 0) : undefined;
    if (verdict !== undefined) events.push(verdict);
    if (verdict?.type === 'ProxyLost') continue;
    const attached = new Set(found.attachments.map(({ ownerId, diskId }) => attachmentKey(ownerId, diskId)));
    for (const [key, { runId, diskId }] of proxy.attachments) {
      if (!lasting(`attachment ${proxyId} ${key}`) || attached.has(key)) continue;
      const what = `disk ${diskId} of run ${runId} at proxy ${proxyId}`;
      events.push(
        {
          type: 'DriftFound',
          data: { hostId, what, expected: 'attached', found: 'not attached', repair: 'attach again' },
        },
        { type: 'DiskDetached', data: { hostId, runId, proxyId, diskId } },
      );
    }
  }
  const dates = dated(events, new Date(now).toISOString());
  return { events: dates, strays: straysIn(pool, seen), silences: watch.silences };
}

function reasonOf(
  found: { readonly detail: string } | undefined,
  silentSeconds: number,
  none: string,
): string {
  if (found === undefined) return none;
  return silentSeconds === 0 ? found.detail : `no answer for ${silentSeconds} s: ${found.detail}`;
}

/** Of so many parts a progress is worth an event. */
const FILL_PARTS = 20;

function fillSeen({ order, fill }: Run, seen: Observation): HostEvent[] {
  const { hostId, runId } = order;
  const found = seen.fills.find(({ targetId }) => targetId === runId);
  if (found?.state === 'unknown') return [];
  if (found === undefined || found.state === 'stopped') {
    const reason = found?.detail ?? 'the host knows no such VM';
    return [{ type: 'FillInterrupted', data: { hostId, runId, reason } }];
  }
  const { filledBytes, totalBytes, state } = found;
  if (state === 'filling' && filledBytes - fill.filledBytes < totalBytes / FILL_PARTS) return [];
  return [{ type: 'FillProgressed', data: { hostId, runId, filledBytes, totalBytes } }];
}

const seenHealthy = (hostId: string, proxyId: string, detail: string): HostEvent => ({
  type: 'ProxyHealthObserved',
  data: { hostId, proxyId, healthy: true, detail },
});

/** `excused`: the disks of a run that uses it do not answer, so the interruptions may not be its own. */
function verdictOn(hostId: string, proxy: PooledProxy, detail: string, excused: boolean): HostEvent {
  const { proxyId, interruptionsInRow } = proxy;
  if (excused || interruptionsInRow < INTERRUPTIONS_IN_ROW_MAX) return seenHealthy(hostId, proxyId, detail);
  const reason = `${interruptionsInRow} child jobs in a row were interrupted on it, although the host says it is up`;
  return { type: 'ProxyLost', data: { hostId, proxyId, reason } };
}

function straysIn(pool: Pool, seen: Observation): Drift['strays'] {
  return [
    ...seen.proxies
      .filter(({ proxyId }) => !pool.proxies.has(proxyId))
      .map(({ proxyId }) => ({ type: 'RemoveStray', what: 'proxy', id: proxyId, vmId: '' }) as const),
    ...seen.snapshots
      .filter(({ snapshotId }) => !pool.runs.has(snapshotId))
      .map(
        ({ snapshotId, vmId }) => ({ type: 'RemoveStray', what: 'snapshot', id: snapshotId, vmId }) as const,
      ),
    ...seen.targets
      .filter(({ targetId }) => !pool.runs.has(targetId))
      .map(({ targetId, vmId }) => ({ type: 'RemoveStray', what: 'target', id: targetId, vmId }) as const),
  ];
}
