/**
 * The pools of all hosts as the log has them. A host's stream grows with every lease, so what was folded is kept and only
 * what is new is read: an older view would cost a plan no more than a wrong guess at what it will share.
 */
import { type StreamName, streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { fold } from '@backhaul/kernel';
import { emptyView, evolveView, type PoolView } from '@backhaul/planning';

export function poolViewsFrom(store: EventStore): (hostId: string) => Promise<PoolView> {
  const views = new Map<string, View>();
  return (hostId) => {
    let view = views.get(hostId);
    if (view === undefined) {
      view = new View(store, streamName('host', hostId));
      views.set(hostId, view);
    }
    return view.now();
  };
}

/** One read at a time: plans that are made side by side look at the same pool. */
class View {
  readonly #store: EventStore;
  readonly #stream: StreamName;
  #pool = emptyView;
  #version = 0;
  #reading: Promise<PoolView> | undefined;

  constructor(store: EventStore, stream: StreamName) {
    this.#store = store;
    this.#stream = stream;
  }

  now(): Promise<PoolView> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<PoolView> {
    for (let more = true; more; ) {
      const page = await this.#store.readStreamPage(this.#stream, this.#version);
      this.#pool = fold(evolveView, this.#pool, page.events);
      [this.#version, more] = [page.version, page.more];
    }
    return { ...this.#pool, hostVersion: this.#version };
  }
}
