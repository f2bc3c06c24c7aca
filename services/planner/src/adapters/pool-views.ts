/**
 * The pools of all hosts as the log has them. A host's stream grows with every lease: a process begins with the pool that was kept of it,
 * and after that reads only what is new. An older view would cost a plan no more than a wrong guess at what it will share.
 */
import { streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { type KeptPools, keptPools } from '@backhaul/kept-pools';
import { fold } from '@backhaul/kernel';
import { emptyView, evolveView, type PoolView } from '@backhaul/planning';
import type { Pool } from '@backhaul/pool';

export function poolViewsFrom(store: EventStore): (hostId: string) => Promise<PoolView> {
  const kept = keptPools({ store });
  const views = new Map<string, View>();
  return (hostId) => {
    let view = views.get(hostId);
    if (view === undefined) {
      view = new View(store, kept, hostId);
      views.set(hostId, view);
    }
    return view.now();
  };
}

/** One read at a time: plans that are made side by side look at the same pool. */
class View {
  readonly #store: EventStore;
  readonly #kept: Pick<KeptPools, 'newest'>;
  readonly #hostId: string;
  #pool = emptyView;
  #version = 0;
  #reading: Promise<PoolView> | undefined;

  constructor(store: EventStore, kept: Pick<KeptPools, 'newest'>, hostId: string) {
    this.#store = store;
    this.#kept = kept;
    this.#hostId = hostId;
  }

  now(): Promise<PoolView> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<PoolView> {
    if (this.#version === 0) await this.#beginWithKept();
    const stream = streamName('host', this.#hostId);
    for (let more = true; more; ) {
      const page = await this.#store.readStreamPage(stream, this.#version);
      this.#pool = fold(evolveView, this.#pool, page.events);
      [this.#version, more] = [page.version, page.more];
    }
    return { ...this.#pool, hostVersion: this.#version };
  }

  async #beginWithKept(): Promise<void> {
    const kept = await this.#kept.newest(this.#hostId);
    if (kept === undefined) return;
    this.#pool = viewOf(kept.pool);
    this.#version = kept.version;
  }
}

/** What folding the events of the pool would have made of them (libs/planning, pool-view.ts). */
export const viewOf = ({ proxyVms }: Pool): PoolView => ({
  activeProxies: [...proxyVms.values()]
    .filter(({ state, ports }) => state !== 'lost' && ports.length > 0)
    .map(({ proxyId, ports }) => ({ proxyId, ports: ports.length })),
});
