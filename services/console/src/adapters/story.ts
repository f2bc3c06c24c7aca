/**
 * The story of one run, a backup's or a recovery's, from the log: its own events, and between them what befell the proxies that it
 * shared. A proxy's life is recorded as part of the run that it was started for, whichever others it serves.
 */
import type { consoleApi, EventType, Recorded } from '@backhaul/contracts';
import type { EventStore, LogFilter } from '@backhaul/event-store';
import { sql } from 'kysely';
import { proxies } from '../projections/proxies.ts';
import { tableRef } from './row-storage.ts';
import { withSnapshot } from './snapshot.ts';

/** A backup or a recovery, as its row has it. */
export type Run = Pick<consoleApi.BackupView, 'hostId' | 'closedAt' | 'firstPosition' | 'position'> & {
  readonly runId: string;
};

export interface StoryPage {
  readonly events: readonly Recorded[];
  /** Where to read on from; undefined at the end of what is recorded. */
  readonly next: number | undefined;
  readonly asOf: number;
}

const PAGE_EVENTS = 1_000;
const proxyNews = [
  'ProxyActivated',
  'ProxyHealthChanged',
  'ProxyLost',
  'ProxyDeactivated',
] as const satisfies EventType[];

export async function readStoryPage(
  store: EventStore,
  run: Run,
  options: { after: number; limit: number; types?: readonly EventType[] },
): Promise<StoryPage> {
  const { after, limit, types } = options;
  const filter = types === undefined ? {} : { types };
  const own = await store.readLog(after, { correlation: run.runId, limit, ...filter });
  const isLast = own.next >= own.highWater;
  // What befell another's proxy after this run had given everything back is not its story.
  const end = run.closedAt === null ? own.next : Math.min(own.next, run.position);
  const news = await newsOfSharedProxies(
    store,
    run,
    { after: Math.max(after, run.firstPosition), end },
    types,
  );
  const events = [...own.events, ...news].sort((a, b) => a.position - b.position);
  if (events.length > limit) {
    const page = events.slice(0, limit);
    return { events: page, next: page.at(-1)?.position, asOf: own.highWater };
  }
  return { events, next: isLast ? undefined : own.next, asOf: own.highWater };
}

async function newsOfSharedProxies(
  store: EventStore,
  { runId, hostId }: Run,
  range: { after: number; end: number },
  types: readonly EventType[] | undefined,
): Promise<Recorded[]> {
  const wanted = proxyNews.filter((type) => types?.includes(type) ?? true);
  if (hostId === null || wanted.length === 0) return [];
  const shared = new Set<string>();
  const chosen = await readAll(store, { correlation: runId, types: ['ProxiesChosen'] }, 0, Infinity);
  for (const event of chosen) {
    for (const proxy of (event as Recorded<'ProxiesChosen'>).data.proxies)
      if (proxy.shared) shared.add(proxy.proxyId);
  }
  if (shared.size === 0) return [];
  // In a log that an earlier release began, what befell a proxy may be told of the host alone.
  const told = new Set([...(await startedFor(store, hostId, [...shared])), `host-${hostId}`]);
  told.delete(runId);
  const news = await Promise.all(
    [...told].map((correlation) => readAll(store, { correlation, types: wanted }, range.after, range.end)),
  );
  return news.flat().filter((event) => shared.has((event as Recorded<'ProxyLost'>).data.proxyId));
}

const startedFor = (store: EventStore, hostId: string, proxyIds: readonly string[]): Promise<string[]> =>
  withSnapshot(store, async ({ db, generation }) => {
    const { rows } = await sql<{ run_id: string | null }>`
      select run_id from ${tableRef(proxies.table, generation)}
      where host_id = ${hostId} and proxy_id = any(${proxyIds}::text[])`.execute(db);
    return rows.flatMap((row) => row.run_id ?? []);
  });

async function readAll(
  store: EventStore,
  filter: LogFilter,
  after: number,
  end: number,
): Promise<Recorded[]> {
  const events: Recorded[] = [];
  for (let from = after; from < end; ) {
    const page = await store.readLog(from, { ...filter, limit: PAGE_EVENTS });
    events.push(...page.events.filter((event) => event.position <= end));
    if (page.next >= page.highWater) break;
    from = page.next;
  }
  return events;
}

/** The whole of it. */
export async function readStory(
  store: EventStore,
  run: Run,
  types?: readonly EventType[],
): Promise<{ story: Recorded[]; asOf: number }> {
  const story: Recorded[] = [];
  for (let after = 0; ; ) {
    const page = await readStoryPage(store, run, {
      after,
      limit: PAGE_EVENTS,
      ...(types === undefined ? {} : { types }),
    });
    story.push(...page.events);
    if (page.next === undefined) return { story, asOf: page.asOf };
    after = page.next;
  }
}
