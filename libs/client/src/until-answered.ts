/**
 * A request that got no answer may have been taken all the same: a service that dies after it stored one has told nobody. So it is sent
 * again, under the same id, which makes it one request however often it comes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, isPermanent } from '@backhaul/kernel';

const RETRY_MILLISECONDS = 500;

/** What `send` answers at last. What is permanent is thrown as it is; the rest when the patience is at its end, with the id. */
export async function untilAnswered<Answer>(
  requestId: string,
  send: () => Promise<Answer>,
  patienceMilliseconds: number,
): Promise<Answer> {
  const end = Date.now() + patienceMilliseconds;
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof Fault) || isPermanent(error)) throw error;
      if (Date.now() >= end) throw unanswered(requestId, error);
    }
    await sleep(RETRY_MILLISECONDS);
  }
}

const unanswered = (requestId: string, cause: Fault): Fault =>
  new Fault(
    `Request ${requestId} got no answer and may have been taken all the same; sent again under this id (--request-id, Idempotency-Key) it is done once`,
    { cause, ...(cause.code === undefined ? {} : { code: cause.code }) },
  );
