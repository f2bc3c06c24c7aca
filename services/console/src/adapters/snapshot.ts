/**
 * One moment of the projections, for reading: everything read through it shows the same position of the log, also while
 * a rebuilt generation takes the place of the one that was read.
 */
import type { EventStore } from '@backhaul/event-store';
import { unavailable } from '../api/problem.ts';
import { type Generation, readGenerations, sameShape } from './generations.ts';
import type { Database } from './row-storage.ts';

export interface Snapshot {
  readonly db: Database;
  readonly generation: number;
  /** The last event that the rows have seen. */
  readonly asOf: number;
}

const UNDEFINED_TABLE = '42P01';

export async function withSnapshot<T>(
  store: EventStore,
  read: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  try {
    return await once(store, read);
  } catch (error) {
    // The generation was swapped out between looking it up and reading it. The new one stands for good.
    if ((error as { code?: string }).code !== UNDEFINED_TABLE) throw error;
    return await once(store, read);
  }
}

const once = <T>(store: EventStore, read: (snapshot: Snapshot) => Promise<T>): Promise<T> =>
  store.kysely
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (db: Database) => {
      const { live, building } = await readGenerations(db);
      if (live === undefined || !sameShape(live.code)) throw notReadable(building);
      return await read({ db, generation: live.generation, asOf: live.position });
    });

const notReadable = (building: Generation | undefined) =>
  unavailable(
    'ProjectionsRebuilding',
    'The tables in use are of another release, and those of this one are being built' +
      `${building === undefined ? '' : ` (up to position ${building.position} of the log)`}.`,
    'Try again shortly; GET /api/v1/status says how far it is.',
  );
