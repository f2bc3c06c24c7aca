/** For tests of any package: a migrated event store on a Postgres of its own. Start it in beforeAll, close it in afterAll. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Service } from '@backhaul/contracts';
import { type LocalPostgres, startPostgres } from '@backhaul/local';
import type { EventStore } from './event-store.ts';
import { migrate } from './migrate.ts';
import { connectEventStore } from './postgres-event-store.ts';
import { serviceUrl } from './roles.ts';

export { type EarlierDatabase, earlierDatabase } from './earlier-database.ts';
export { appendAsNewerRelease, type NewerEvent } from './newer-release.ts';

export interface TestStore {
  readonly adminUrl: string;
  urlOf(service: Service): string;
  /** A store that logs in as the service; closed with the rest. */
  store(service: Service, options?: { poolSize?: number }): Promise<EventStore>;
  /** Another empty, migrated database of the same server. */
  openDatabase(name: string): Promise<Omit<TestStore, 'openDatabase' | 'server'>>;
  readonly server: LocalPostgres;
  close(): Promise<void>;
}

export const TEST_PASSWORD = 'for tests only';

export async function openTestStore(
  options: { settings?: readonly string[]; keep?: boolean } = {},
): Promise<TestStore> {
  const directory = await mkdtemp(join(tmpdir(), 'backhaul-store-'));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  let server: LocalPostgres;
  try {
    server = await startPostgres({
      directory: join(directory, 'pg'),
      settings: options.settings ?? ['fsync=off', 'full_page_writes=off', 'max_connections=200'],
    });
  } catch (error) {
    await remove();
    throw error;
  }
  const stopAll = async (): Promise<void> => {
    await server.stop();
    await remove();
  };
  try {
    const first = await openDatabase(await server.createDatabase('backhaul'));
    return {
      ...first,
      server,
      openDatabase: async (name) => openDatabase(await server.createDatabase(name)),
      async close() {
        await first.close();
        await stopAll();
      },
    };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

async function openDatabase(adminUrl: string) {
  await migrate({ adminUrl, rolePassword: TEST_PASSWORD });
  const stores: EventStore[] = [];
  const urlOf = (service: Service): string => serviceUrl(adminUrl, service, TEST_PASSWORD);
  return {
    adminUrl,
    urlOf,
    async store(service: Service, options: { poolSize?: number } = {}): Promise<EventStore> {
      const store = await connectEventStore({ url: urlOf(service), service, ...options });
      stores.push(store);
      return store;
    },
    async close(): Promise<void> {
      await Promise.all(stores.splice(0).map((store) => store.close()));
    },
  };
}
