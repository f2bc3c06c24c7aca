/**
 * How handlers meet their messages: once only inside a transaction (`transactionally`), several of them in one (`oneTransaction`),
 * or as long work that is noted when it is done (`asWork`).
 */
import type { EventType, Recorded } from '@backhaul/contracts';
import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { decodeEvent } from './cloud-event.ts';
import type { Delivery } from './delivery.ts';
import { gathering } from './gathering.ts';
import { forget, noteDone, remember, rememberEach, rememberedOf } from './inbox.ts';
import type { WorkEnd } from './messaging.ts';
import { isConflict } from './retry.ts';
import { together } from './shared-transaction.ts';

/**
 * `alone`: not handled, and to be handled by itself, so that what is wrong with it shows. `let-go`: somebody else is at it, and what becomes
 * of it is theirs to say.
 */
export type Outcome = 'handled' | 'skipped' | 'alone' | 'let-go';
const CONFLICTS_MAX = 5;

/** The event of a delivery as its handler knows it: consumers are filtered by type. */
export const eventOf = <T extends EventType>(delivery: Delivery): Recorded<T> | undefined =>
  decodeEvent(delivery) as Recorded<T> | undefined;

type Work = (delivery: Delivery, transaction: EventTransaction) => Promise<void>;

/** Inbox row first, then the work, in one transaction. A conflict with another writer runs it again at once. */
export async function transactionally(
  store: EventStore,
  consumer: string,
  delivery: Delivery,
  work: Work,
): Promise<Outcome> {
  for (let conflicts = 1; ; conflicts += 1) {
    try {
      return await store.transaction(async (transaction) => {
        if (!(await remember(transaction, consumer, delivery.identity.inboxKey))) return 'skipped';
        await work(delivery, transaction);
        return 'handled';
      });
    } catch (error) {
      if (!isConflict(error) || conflicts >= CONFLICTS_MAX) throw error;
    }
  }
}

/** The same for messages that have nothing to do with each other, side by side in one transaction. */
export async function oneTransaction(
  store: EventStore,
  consumer: string,
  deliveries: readonly Delivery[],
  work: Work,
): Promise<readonly Outcome[]> {
  const [only] = deliveries;
  if (deliveries.length === 1 && only !== undefined)
    return [await transactionally(store, consumer, only, work)];
  return await store.transaction(async (transaction) => {
    const keyOf = ({ identity }: Delivery): string => identity.inboxKey;
    const fresh = await rememberEach(transaction, consumer, deliveries.map(keyOf));
    const toDo = deliveries.filter((delivery) => fresh.has(keyOf(delivery)));
    const done = await together(transaction, toDo, work);
    const failed = new Set(toDo.filter((_, index) => done[index]?.status === 'rejected').map(keyOf));
    if (failed.size > 0) await forget(transaction, consumer, ...failed);
    return deliveries.map((delivery) => {
      if (failed.has(keyOf(delivery))) return 'alone';
      return fresh.has(keyOf(delivery)) ? 'handled' : 'skipped';
    });
  });
}

/** For the messages of one consumer. What is asked of the inbox and noted in it goes there for many messages at a time. */
export function workOf(store: EventStore, consumer: string) {
  const isDone = gathering<string, boolean>(async (keys) => {
    const found = await rememberedOf(store, consumer, keys);
    return keys.map((key) => found.has(key));
  });
  const note = gathering<string, void>(async (keys) => {
    await noteDone(store, consumer, keys);
    return keys.map(() => undefined);
  });
  return async ({ identity }: Delivery, work: () => Promise<void> | Promise<WorkEnd>): Promise<Outcome> => {
    if (await isDone(identity.inboxKey)) return 'skipped';
    // Noted by whoever is overtaken, the work would be nobody's as soon as the other one fails.
    if ((await work()) === 'overtaken') return 'let-go';
    await note(identity.inboxKey);
    return 'handled';
  };
}
