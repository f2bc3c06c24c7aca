/**
 * The upstream side: sends requests and hears answers. All that a command line or another system needs of Backhaul's
 * NATS; services have it as part of their messaging.
 */
import { randomUUID } from 'node:crypto';
import { Answer, answerSubject, RequestId, type RequestName, requestSubject } from '@backhaul/contracts';
import { describeError, Fault, withDeadline } from '@backhaul/kernel';
import { type Link, openLink } from './link.ts';
import { type Log, silentLog } from './log.ts';
import type { Requester } from './messaging.ts';
import { ensureStreams, REQUESTS } from './streams.ts';

const PUBLISH_MILLISECONDS_MAX = 5_000;
const REQUEST_MILLISECONDS_MAX = 30_000;

/** Connects as an upstream system does: no database needed. Resolves at once; requests wait for the connection. */
export function connectRequester(options: {
  url: string;
  name: string;
  log?: Log;
  replicas?: number;
}): Requester & { close(): Promise<void> } {
  const link = openLink({
    url: options.url,
    name: options.name,
    log: options.log ?? silentLog,
    prepare: (session) => ensureStreams(session, { replicas: options.replicas ?? 1 }),
  });
  return { ...requesterOn(link), close: () => link.close() };
}

export function requesterOn(link: Link): Requester {
  return {
    async request(name, body, messageId = randomUUID()) {
      await withDeadline(`Sending ${name} ${messageId} to NATS`, REQUEST_MILLISECONDS_MAX, async (signal) => {
        for (let stored = false; !stored; ) stored = await send(link, name, body, messageId, signal);
      });
    },
    awaitAnswer: (requestId, milliseconds) => ({ answer: hear(link, requestId, milliseconds) }),
  };
}

/** False when the connection was lost in between: the same message id may be sent again without harm. */
async function send(
  link: Link,
  name: RequestName,
  body: unknown,
  messageId: string,
  signal: AbortSignal,
): Promise<boolean> {
  const session = await link.session(signal);
  try {
    await session.jetstream.publish(requestSubject(name), JSON.stringify(body), {
      msgID: messageId,
      timeout: PUBLISH_MILLISECONDS_MAX,
      expect: { streamName: REQUESTS },
    });
    return true;
  } catch (cause) {
    if (session.ended.aborted && !signal.aborted) return false;
    throw new Fault(`NATS did not store the request ${name} ${messageId}: ${describeError(cause)}`, {
      cause,
    });
  }
}

/** Listens on every session until the answer comes or the time is up. */
async function hear(link: Link, requestId: string, milliseconds: number): Promise<Answer | undefined> {
  const subject = answerSubject(RequestId.parse(requestId));
  const timeUp = AbortSignal.timeout(milliseconds);
  while (!timeUp.aborted) {
    // Whoever only listens gets no answer from a NATS that is out of reach; sending says what is wrong with it.
    const session = await link.session(timeUp).catch(() => undefined);
    if (session === undefined) return undefined;
    const subscription = session.connection.subscribe(subject);
    const end = (): void => subscription.unsubscribe();
    timeUp.addEventListener('abort', end);
    try {
      for await (const message of subscription) {
        const answer = Answer.safeParse(parsed(message.data));
        if (answer.success) return answer.data;
      }
    } finally {
      timeUp.removeEventListener('abort', end);
      if (!session.ended.aborted) end();
    }
  }
  return undefined;
}

function parsed(data: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(data).toString('utf8'));
  } catch {
    return undefined;
  }
}
