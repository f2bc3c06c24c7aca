/**
 * The connection to NATS, endlessly renewed. Everything that hangs on a connection (pull requests, subscriptions,
 * publishes in flight) belongs to one session and is made anew in the next one; nothing is carried over by the client
 * library, so what was sent on a session that ended is known to be a prefix of what was meant to be sent.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  describeError,
  Fault,
  isPermanent,
  natsAddress,
  withDeadline,
  withoutNatsPassword,
} from '@backhaul/kernel';
import { connect, type JetStreamClient, type JetStreamManager, type NatsConnection } from 'nats';
import type { Log } from './log.ts';

export interface Session {
  readonly number: number;
  readonly connection: NatsConnection;
  readonly jetstream: JetStreamClient;
  readonly manager: JetStreamManager;
  /** Aborts when the connection is gone. */
  readonly ended: AbortSignal;
}

export interface Link {
  /**
   * The session that stands, or the next one. Rejects when the wait is aborted, the link is closed, or the server is
   * not set up as it must be: waiting does not mend that.
   */
  session(signal?: AbortSignal): Promise<Session>;
  current(): Session | undefined;
  /** In words, for an operator. */
  state(): string;
  close(): Promise<void>;
}

const RETRY_MILLISECONDS_MAX = 2_000;
const FLUSH_MILLISECONDS_MAX = 2_000;
/** How often a wait that goes on is said again in the log. */
const REMINDER_MILLISECONDS = 5_000;

export function openLink(options: {
  /** One or more server URLs, separated by commas. */
  url: string;
  /** How the server knows this client. */
  name: string;
  log: Log;
  /** Runs on every new session before anybody else sees it. */
  prepare(session: Session): Promise<void>;
}): Link {
  const { log } = options;
  const closing = new AbortController();
  const waiting = new Set<{ resolve(session: Session): void; reject(error: unknown): void }>();
  let current: Session | undefined;
  let state = 'not connected yet';

  const run = async (): Promise<void> => {
    let reminded = 0;
    for (let number = 1, failures = 0; !closing.signal.aborted; number += 1) {
      try {
        const session = await establish(number);
        [failures, reminded] = [0, 0];
        state = `connected to ${session.connection.getServer()}`;
        log.info({ server: session.connection.getServer(), session: number }, 'connected to NATS');
        current = session;
        for (const waiter of waiting) waiter.resolve(session);
        waiting.clear();
        const error = await session.connection.closed();
        current = undefined;
        if (closing.signal.aborted) break;
        state = `connection lost${error instanceof Error ? `: ${error.message}` : ''}`;
        log.warn({ session: number, error: describeError(error ?? 'closed') }, 'connection to NATS lost');
      } catch (error) {
        failures += 1;
        state = describeError(error);
        if (isPermanent(error)) for (const waiter of waiting) waiter.reject(error);
        if (isPermanent(error)) waiting.clear();
        if (Date.now() - reminded > REMINDER_MILLISECONDS && !closing.signal.aborted) {
          reminded = Date.now();
          log.warn({ url: withoutNatsPassword(options.url), error: state }, 'waiting for NATS');
        }
      }
      const delay = Math.min(100 * 2 ** Math.min(failures, 10), RETRY_MILLISECONDS_MAX);
      await pause(delay, undefined, { signal: closing.signal }).catch(() => undefined);
    }
  };

  const establish = async (number: number): Promise<Session> => {
    let connection: NatsConnection;
    try {
      connection = await connect({
        ...natsAddress(options.url),
        name: options.name,
        reconnect: false,
        timeout: 3_000,
        pingInterval: 5_000,
        maxPingOut: 2,
        // A stack trace kept for every publish costs a tenth of the relay's time.
        noAsyncTraces: true,
      });
    } catch (cause) {
      throw new Fault(`NATS at ${withoutNatsPassword(options.url)} cannot be reached`, { cause });
    }
    const ended = new AbortController();
    void connection.closed().then(() => ended.abort());
    try {
      const session: Session = {
        number,
        connection,
        jetstream: connection.jetstream(),
        manager: await connection.jetstreamManager(),
        ended: ended.signal,
      };
      await options.prepare(session);
      // Asked last: whoever closes the link closes the session that stands, and this one does not stand yet.
      if (closing.signal.aborted) throw closed();
      return session;
    } catch (error) {
      await connection.close();
      throw error;
    }
  };

  const running = run();
  return {
    current: () => current,
    state: () => state,
    async session(signal) {
      if (current !== undefined) return current;
      if (closing.signal.aborted) throw closed();
      const givenUp = (): Fault => new Fault('The wait for NATS was given up', { cause: signal?.reason });
      if (signal?.aborted) throw givenUp();
      const { promise, resolve, reject } = Promise.withResolvers<Session>();
      const waiter = { resolve, reject };
      const abandon = (): void => reject(givenUp());
      waiting.add(waiter);
      signal?.addEventListener('abort', abandon);
      try {
        return await promise;
      } finally {
        waiting.delete(waiter);
        signal?.removeEventListener('abort', abandon);
      }
    },
    async close() {
      closing.abort();
      for (const waiter of waiting) waiter.reject(closed());
      waiting.clear();
      if (current !== undefined) {
        const { connection } = current;
        // A server that went away in this very moment never answers a flush.
        await withDeadline('Flushing to NATS', FLUSH_MILLISECONDS_MAX, () => connection.flush()).catch(
          () => undefined,
        );
        await connection.close();
      }
      await running;
    },
  };
}

const closed = (): Fault =>
  new Fault('The connection to NATS was closed by this process', { permanent: true, code: 'Closed' });
