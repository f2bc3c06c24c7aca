/** An event of the log, and what it said when it was stored: fields that came with a later version cannot be asked of it. */
import { catalogue, liftRecord, type Recorded, type StoredRecord } from '@backhaul/contracts';

export type Logged = Recorded & {
  /** Its data as it was stored, when that was with a version before the newest: what else it has, upcasters have put there. */
  readonly older?: object;
};

/** Undefined for a type that this release does not know. */
export function loggedFrom(stored: StoredRecord): Logged | undefined {
  const recorded = liftRecord(stored);
  if (recorded === undefined) return undefined;
  const isNewest = stored.schemaVersion === catalogue[recorded.type].schemaVersion;
  return isNewest ? recorded : { ...recorded, older: stored.data as object };
}
