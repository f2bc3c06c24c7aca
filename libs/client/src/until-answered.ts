/**
 * A request that got no answer may have been taken all the same: a service that dies after it stored one has told nobody. So it is sent
 * again, under the same id, which makes it one request however often it comes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, isPermanent } from '@backhaul/kernel';

const RETRY_MILLISECONDS = 500;

/** What `send` answers at last. What is permanent is thrown as it is; the rest when the patience is at its end, with what is `known` of the request. */
export async function untilAnswered<Answer>(
  known: string,
  send: () => Promise<Answer>,
  patienceMilliseconds: number,
  signal?: AbortSignal,
): Promise<Answer> {
  const end = Date.now() + patienceMilliseconds;
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof Fault) || isPermanent(error)) throw error;
      await sleep(RETRY_MILLISECONDS, undefined, { signal }).catch(() => undefined);
      if (Date.now() >= end || signal?.aborted === true) throw unanswered(known, error);
    }
  }
}

/** `requestId`: the requester's own, where there is one. */
export const knownOf = (requestId: string | undefined): string =>
  requestId === undefined
    ? 'The request got no answer and may have been taken all the same: look, or send it again'
    : `Request ${requestId} got no answer and may have been taken all the same; sent again under this id (--request-id, Idempotency-Key) it is done once`;

const unanswered = (known: string, cause: Fault): Fault =>
  new Fault(known, { cause, ...(cause.code === undefined ? {} : { code: cause.code }) });
