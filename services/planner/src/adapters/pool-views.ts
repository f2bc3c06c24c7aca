/**
 * The pools of all hosts as the log has them. A host's stream grows with every lease, so what was folded is kept and only
 * what is new is read: an older view would cost a plan no more than a wrong guess at what it will share.
 */
import type { EventStore } from '@backhaul/event-store';
import { fold } from '@backhaul/kernel';
import type { PoolView } from '@backhaul/planning';
import { emptyPool, evolvePool, hostStream } from '../core/pool-view.ts';

export function poolViewsFrom(store: EventStore): (hostId: string) => Promise<PoolView> {
  const views = new Map<string, { readonly pool: PoolView; readonly version: number }>();
  return async (hostId) => {
    let { pool, version } = views.get(hostId) ?? { pool: emptyPool, version: 0 };
    for (let more = true; more; ) {
      const page = await store.readStreamPage(hostStream(hostId), version);
      pool = fold(evolvePool, pool, page.events);
      ({ version, more } = page);
    }
    if (version > (views.get(hostId)?.version ?? 0)) views.set(hostId, { pool, version });
    return pool;
  };
}
