/**
 * The pools of hosts as their streams tell them: a process goes on from where one was kept, and after that from where it stands. What it
 * costs to ask again is what has happened since.
 */
import type { EventStore } from '@backhaul/event-store';
import { type KeptPools, keptPools } from '@backhaul/kept-pools';
import { emptyPool, evolve, hostStream, type Pool } from '@backhaul/pool';

interface Host {
  pool: Pool;
  version: number;
  turn: Promise<unknown>;
}

export class Pools {
  readonly #store: EventStore;
  readonly #kept: Pick<KeptPools, 'newest'>;
  readonly #hosts = new Map<string, Host>();

  constructor(store: EventStore) {
    this.#store = store;
    this.#kept = keptPools({ store });
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
      if (host.version === 0) Object.assign(host, await this.#kept.newest(hostId));
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
