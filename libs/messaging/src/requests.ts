/**
 * How requests are handled and answered. Each takes effect once, like any message. One that was handled and comes again (the same message, by
 * all that it says) is answered again, because its sender may have missed the answer: as it would be answered now, and nothing of that is kept.
 */
import { Answer, answerSubject, RequestId } from '@backhaul/contracts';
import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { describeError, Fault, isPermanent } from '@backhaul/kernel';
import type { Delivery } from './delivery.ts';
import { type Outcome, oneTransaction } from './handlers.ts';
import type { Link } from './link.ts';
import type { Log } from './log.ts';
import type { IncomingRequest } from './messaging.ts';

type Handle = (request: IncomingRequest, transaction: EventTransaction) => Promise<readonly Answer[]>;

export function requestsOf(
  store: EventStore,
  consumer: string,
  handle: Handle,
  answer: (given: Answer) => void,
): (batch: readonly Delivery[]) => Promise<readonly Outcome[]> {
  const handled = ({ subject, body, identity }: Delivery, transaction: EventTransaction) => {
    const name = subject.slice(subject.lastIndexOf('.') + 1);
    return handle({ name, body, messageId: identity.messageId }, transaction);
  };
  const answeredAgain = async (delivery: Delivery): Promise<readonly Answer[]> => {
    try {
      return await withoutEffect(store, (transaction) => handled(delivery, transaction));
    } catch (error) {
      // It became a dead letter the first time, and has no need of another.
      if (isPermanent(error)) return refusedFor(delivery, error);
      throw error;
    }
  };
  return async (batch) => {
    const given = new Map<Delivery, readonly Answer[]>();
    const outcomes = await oneTransaction(store, consumer, batch, async (delivery, transaction) => {
      given.set(delivery, await handled(delivery, transaction));
    });
    const told: Outcome[] = [];
    for (const [index, delivery] of batch.entries()) {
      let outcome = outcomes[index] ?? 'alone';
      if (outcome === 'skipped') {
        try {
          given.set(delivery, await answeredAgain(delivery));
        } catch (error) {
          if (batch.length === 1) throw error;
          outcome = 'alone';
        }
      }
      if (outcome !== 'alone') for (const each of given.get(delivery) ?? []) answer(each);
      told.push(outcome);
    }
    return told;
  };
}

/** What `work` finds, and nothing of what it has done. */
async function withoutEffect<T>(
  store: EventStore,
  work: (transaction: EventTransaction) => Promise<T>,
): Promise<T> {
  let found: { readonly value: T } | undefined;
  const rollBack = new Error('Nothing of this is kept');
  try {
    return await store.transaction(async (transaction) => {
      found = { value: await work(transaction) };
      throw rollBack;
    });
  } catch (error) {
    if (error === rollBack && found !== undefined) return found.value;
    throw error;
  }
}

/** Of a request that is a dead letter; nothing where no id can be read, for then there is nobody to answer. */
export function refusedFor({ body }: Delivery, error: unknown): Answer[] {
  const requestId = requestIdOf(body);
  if (requestId === undefined) return [];
  const code = error instanceof Fault && error.code !== undefined ? error.code : 'RequestFailed';
  return [{ requestId, outcome: 'refused', refusal: { code, message: describeError(error) } }];
}

function requestIdOf(body: Uint8Array): string | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    const { requestId } = parsed as { requestId?: unknown };
    return RequestId.safeParse(requestId).data;
  } catch {
    return undefined;
  }
}

export function publishAnswer(link: Link, log: Log, answer: Answer): void {
  const session = link.current();
  if (!RequestId.safeParse(answer.requestId).success || session === undefined) {
    log.debug({ requestId: answer.requestId }, 'an answer could not be sent');
    return;
  }
  try {
    session.connection.publish(answerSubject(answer.requestId), JSON.stringify(Answer.parse(answer)));
  } catch (error) {
    // The log, not the answer, is the truth: one that cannot be sent must not undo what is done.
    log.warn({ requestId: answer.requestId, error: describeError(error) }, 'an answer could not be sent');
  }
}
