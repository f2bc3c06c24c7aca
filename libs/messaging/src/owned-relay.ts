/** The relay of one service as its messaging sees it: whether it is in charge, how far behind it is, and how to end it well. */
import { owners, type Service } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { Fault, withDeadline } from '@backhaul/kernel';
import { sql } from 'kysely';
import { runExclusively } from './exclusive.ts';
import type { Link } from './link.ts';
import type { Log } from './log.ts';
import type { Health } from './messaging.ts';
import type { Observer } from './occurrence.ts';
import type { Oversized } from './oversized.ts';
import { relay } from './relay.ts';
import { Wakeup } from './wakeup.ts';

/** An event that waits longer than this to be published makes the service not ready. */
const BEHIND_MILLISECONDS_MAX = 30_000;

export interface OwnedRelay {
  health(): Promise<Health & { readonly behindMilliseconds: number }>;
  refill(): Promise<void>;
  /** Publishes what is appended, at most for so long, when this process is the one in charge; then gives the charge away. */
  stop(milliseconds: number): Promise<void>;
}

export function startRelay(options: {
  service: Service;
  postgresUrl: string;
  store: EventStore;
  link: Link;
  log: Log;
  observe: Observer;
}): OwnedRelay {
  const { service, store, link, log, observe } = options;
  if (!Object.values(owners).some((owner) => owner === service)) return nothingToRelay;

  const wakeup = new Wakeup();
  const progress = new Wakeup();
  let published = 0;
  let stuck: Oversized | undefined;
  const unsubscribe = store.onAppended(() => wakeup.ring());
  const exclusive = runExclusively({
    postgresUrl: options.postgresUrl,
    name: `relay ${service}`,
    log,
    run: (signal, lock) =>
      relay(
        {
          service,
          store,
          link,
          log,
          wakeup,
          published: (event) => observe({ kind: 'published', type: event.type }),
          progressed: (position) => {
            published = position;
            if (stuck !== undefined && position >= stuck.position) stuck = undefined;
            progress.ring();
          },
          stuck: (at) => {
            stuck = at;
          },
        },
        signal,
        lock,
      ),
  });

  const flush = async (signal: AbortSignal): Promise<void> => {
    const { highWater } = await store.readOwnLog(published, { limit: 1 });
    // Without NATS there is nobody to wait for: the next start publishes what is left.
    while (exclusive.inCharge() && link.current() && published < highWater && !signal.aborted) {
      const ring = progress.next();
      wakeup.ring();
      if (published < highWater) await ring.within(500, signal);
    }
  };

  return {
    async health() {
      // Taken before the checkpoint is read: whoever is stuck has saved what is before it.
      const stuckAt = stuck;
      const { rows } = await sql<{ position: string }>`
        select position from public.relay_checkpoints where service = ${service}`.execute(store.kysely);
      const after = Number(rows[0]?.position ?? 0);
      const oldest = (await store.readOwnLog(after, { limit: 1 })).records[0];
      const behindMilliseconds = oldest === undefined ? 0 : Date.now() - Date.parse(oldest.recordedAt);
      return {
        ok: behindMilliseconds <= BEHIND_MILLISECONDS_MAX && stuckAt === undefined,
        behindMilliseconds,
        detail:
          `at position ${after}, ${(behindMilliseconds / 1000).toFixed(1)} s behind${exclusive.inCharge() ? ', in charge here' : ''}` +
          (stuckAt === undefined ? '' : `. ${stuckAt.message}`),
      };
    },
    async refill() {
      const { numAffectedRows } = await sql`
        update public.relay_checkpoints set position = 0, updated_at = now() where service = ${service}`.execute(
        store.kysely,
      );
      if (numAffectedRows !== 1n)
        throw new Fault(`The relay of ${service} has published nothing yet: there is nothing to refill`);
      wakeup.ring();
    },
    async stop(milliseconds) {
      unsubscribe();
      await withDeadline(`Publishing the last events of ${service}`, milliseconds, flush).catch(
        (error: unknown) =>
          log.warn({ error: String(error) }, 'events are left for the next start to publish'),
      );
      await exclusive.stop();
    },
  };
}

const nothingToRelay: OwnedRelay = {
  health: async () => ({ ok: true, detail: 'nothing to relay', behindMilliseconds: 0 }),
  refill: async () => undefined,
  stop: async () => undefined,
};
