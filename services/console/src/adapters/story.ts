/**
 * The story of one backup, from the log: its own events, and between them what befell its proxies. A proxy may serve many
 * backups, so its life is recorded under its host and not under any one of them.
 */
import type { consoleApi, EventType, Recorded } from '@backhaul/contracts';
import type { EventStore, LogFilter } from '@backhaul/event-store';

export interface StoryPage {
  readonly events: readonly Recorded[];
  /** Where to read on from; undefined at the end of what is recorded. */
  readonly next: number | undefined;
  readonly asOf: number;
}

const PAGE_EVENTS = 1_000;
const proxyNews = ['ProxyActivated', 'ProxyLost', 'ProxyDeactivated'] as const satisfies EventType[];

export async function readStoryPage(
  store: EventStore,
  backup: consoleApi.BackupView,
  options: { after: number; limit: number; types?: readonly EventType[] },
): Promise<StoryPage> {
  const { after, limit, types } = options;
  const filter = types === undefined ? {} : { types };
  const own = await store.readLog(after, { correlation: backup.backupId, limit, ...filter });
  const isLast = own.next >= own.highWater;
  // What befell a proxy after the backup had ended is no longer its story, also when a dead letter of it is sent again much later.
  const lastOfRun = own.events.findLast(({ category }) => category !== 'deadLetter');
  const end = isLast && backup.endedAt !== null ? (lastOfRun?.position ?? after) : own.next;
  const news = await newsOfProxies(
    store,
    backup,
    { after: Math.max(after, backup.firstPosition), end },
    types,
  );
  const events = [...own.events, ...news].sort((a, b) => a.position - b.position);
  if (events.length > limit) {
    const page = events.slice(0, limit);
    return { events: page, next: page.at(-1)?.position, asOf: own.highWater };
  }
  return { events, next: isLast ? undefined : own.next, asOf: own.highWater };
}

async function newsOfProxies(
  store: EventStore,
  { backupId, hostId }: consoleApi.BackupView,
  range: { after: number; end: number },
  types: readonly EventType[] | undefined,
): Promise<Recorded[]> {
  const wanted = proxyNews.filter((type) => types?.includes(type) ?? true);
  if (hostId === null || wanted.length === 0) return [];
  const proxyIds = new Set<string>();
  for (const event of await readAll(
    store,
    { correlation: backupId, types: ['ProxiesChosen'] },
    0,
    Infinity,
  )) {
    const { proxies } = (event as Recorded<'ProxiesChosen'>).data;
    for (const { proxyId } of proxies) proxyIds.add(proxyId);
  }
  if (proxyIds.size === 0) return [];
  const news = await readAll(store, { correlation: `host-${hostId}`, types: wanted }, range.after, range.end);
  return news.filter((event) => proxyIds.has((event as Recorded<'ProxyLost'>).data.proxyId));
}

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
  backup: consoleApi.BackupView,
  types?: readonly EventType[],
): Promise<{ story: Recorded[]; asOf: number }> {
  const story: Recorded[] = [];
  for (let after = 0; ; ) {
    const page = await readStoryPage(store, backup, {
      after,
      limit: PAGE_EVENTS,
      ...(types === undefined ? {} : { types }),
    });
    story.push(...page.events);
    if (page.next === undefined) return { story, asOf: page.asOf };
    after = page.next;
  }
}
