/**
 * How a handler meets its message: once only inside a transaction (`transactionally`), or as long work that is noted
 * when it is done (`asWork`).
 */
import type { EventType, Recorded } from '@backhaul/contracts';
import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { decodeEvent } from './cloud-event.ts';
import type { Delivery } from './delivery.ts';
import { isRemembered, remember } from './inbox.ts';
import { isConflict } from './retry.ts';

type Outcome = 'handled' | 'skipped';
const CONFLICTS_MAX = 5;

/** The event of a delivery as its handler knows it: consumers are filtered by type. */
export const eventOf = <T extends EventType>(delivery: Delivery): Recorded<T> | undefined =>
  decodeEvent(delivery) as Recorded<T> | undefined;

/** Inbox row first, then the work, in one transaction. A conflict with another writer runs it again at once. */
export async function transactionally(
  store: EventStore,
  consumer: string,
  delivery: Delivery,
  work: (transaction: EventTransaction) => Promise<void>,
): Promise<Outcome> {
  for (let conflicts = 1; ; conflicts += 1) {
    try {
      return await store.transaction(async (transaction) => {
        if (!(await remember(transaction, consumer, delivery.identity.inboxKey))) return 'skipped';
        await work(transaction);
        return 'handled';
      });
    } catch (error) {
      if (!isConflict(error) || conflicts >= CONFLICTS_MAX) throw error;
    }
  }
}

export async function asWork(
  store: EventStore,
  consumer: string,
  delivery: Delivery,
  work: () => Promise<void>,
): Promise<Outcome> {
  if (await isRemembered(store, consumer, delivery.identity.inboxKey)) return 'skipped';
  await work();
  await store.transaction((transaction) => remember(transaction, consumer, delivery.identity.inboxKey));
  return 'handled';
}
