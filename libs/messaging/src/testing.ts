/**
 * For tests of any package: a NATS and a migrated event store of their own, and services connected to both. Start it in
 * beforeAll, close it in afterAll.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Event, Service, StreamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId } from '@backhaul/kernel';
import { type LocalNats, startNats } from '@backhaul/local';
import { connectMessaging, type MessagingOptions } from './connect-messaging.ts';
import { silentLog } from './log.ts';
import type { Messaging } from './messaging.ts';
import type { Occurrence } from './occurrence.ts';

export { openStallableLink, type StallableLink } from './stallable-link.ts';

export interface TestService {
  readonly store: EventStore;
  readonly messaging: Messaging;
  /** Everything that was observed so far. */
  readonly occurrences: readonly Occurrence[];
  /** Appends to a stream, whatever its version. */
  append(stream: StreamName, ...events: Event[]): Promise<void>;
}

export interface TestMessaging {
  readonly nats: LocalNats;
  readonly postgres: TestStore;
  /** One instance of a service, closed with the rest. */
  connect(service: Service, options?: Partial<MessagingOptions>): Promise<TestService>;
  /** Closes all that are connected: what a failed test left open is not to stand in the way of the next one. */
  disconnect(): Promise<void>;
  close(): Promise<void>;
}

export async function openTestMessaging(): Promise<TestMessaging> {
  const directory = await mkdtemp(join(tmpdir(), 'backhaul-messaging-'));
  const nats = await startNats({ directory: join(directory, 'nats') });
  const removeNats = async (): Promise<void> => {
    await nats.stop();
    await rm(directory, { recursive: true, force: true });
  };
  let postgres: TestStore;
  try {
    postgres = await openTestStore();
  } catch (error) {
    await removeNats();
    throw error;
  }
  const connected: Messaging[] = [];
  const disconnect = async (): Promise<void> => {
    await Promise.all(connected.splice(0).map((messaging) => messaging.close()));
  };
  let appends = 0;
  return {
    nats,
    postgres,
    async connect(service, options = {}) {
      const occurrences: Occurrence[] = [];
      const store = options.store ?? (await postgres.store(service));
      const messaging = await connectMessaging({
        url: nats.url,
        service,
        postgresUrl: postgres.urlOf(service),
        log: silentLog,
        observe: (occurrence) => occurrences.push(occurrence),
        ...options,
        store,
      });
      connected.push(messaging);
      return {
        store,
        messaging,
        occurrences,
        async append(stream, ...events) {
          appends += 1;
          const commandId = derivedId('test', directory, appends);
          await store.append([{ stream, expected: 'any', events }], {
            commandId,
            metadata: { correlation: stream, causation: commandId, actor: service },
          });
        },
      };
    },
    disconnect,
    async close() {
      await disconnect();
      await postgres.close();
      await removeNats();
    },
  };
}
