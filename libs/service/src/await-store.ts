/** Postgres may start after its services, and so may the migration that makes their roles: a service waits, and says so. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Service } from '@backhaul/contracts';
import { connectEventStore, type EventStore } from '@backhaul/event-store';
import { describeError } from '@backhaul/kernel';
import type { Logger } from 'pino';

const RETRY_MILLISECONDS = 500;
/** How often a wait that goes on is said again in the log. */
const REMINDER_MILLISECONDS = 3_000;

/** Rejects when the signal aborts. */
export async function awaitStore(options: {
  url: string;
  service: Service;
  log: Logger;
  signal: AbortSignal;
}): Promise<EventStore> {
  const { url, service, log, signal } = options;
  for (let reminded = 0; ; ) {
    signal.throwIfAborted();
    try {
      return await connectEventStore({ url, service });
    } catch (error) {
      if (Date.now() - reminded > REMINDER_MILLISECONDS) {
        reminded = Date.now();
        log.warn({ error: describeError(error) }, 'waiting for PostgreSQL');
      }
      await pause(RETRY_MILLISECONDS, undefined, { signal });
    }
  }
}
