/**
 * The pools of hosts as their streams tell them: read whole once a process, and from where it stands after that. What it costs to ask
 * again is what has happened since.
 */
import type { EventStore } from '@backhaul/event-store';
import { emptyPool, evolve, hostStream, type Pool } from '@backhaul/pool';

export class Pools {
  readonly #store: EventStore;
  readonly #hosts = new Map<string, { readonly pool: Pool; version: number; turn: Promise<unknown> }>();

  constructor(store: EventStore) {
    this.#store = store;
  }

  /** Runs `work` on the host's pool as the log has it now. It must not change the pool, nor keep it. */
  async read<T>(hostId: string, work: (pool: Pool) => T): Promise<T> {
    const host = this.#hosts.get(hostId) ?? {
      pool: emptyPool(hostId),
      version: 0,
      turn: Promise.resolve(),
    };
    this.#hosts.set(hostId, host);
    const done = host.turn.then(async () => {
      for (let more = true; more; ) {
        const page = await this.#store.readStreamPage(hostStream(hostId), host.version);
        for (const event of page.events) {
          evolve(host.pool, event);
          host.version = event.version;
        }
        host.version = page.version;
        more = page.more;
      }
      return work(host.pool);
    });
    host.turn = done.catch(() => undefined);
    return await done;
  }
}
