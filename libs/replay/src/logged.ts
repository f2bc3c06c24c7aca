/** An event of the log with the schema version that it was stored with: what is younger than that cannot be asked of it. */
import { liftRecord, type Recorded, type StoredRecord } from '@backhaul/contracts';

export type Logged = Recorded & { readonly storedVersion: number };

/** Undefined for a type that this release does not know. */
export function loggedFrom(stored: StoredRecord): Logged | undefined {
  const recorded = liftRecord(stored);
  return recorded === undefined ? undefined : { ...recorded, storedVersion: stored.schemaVersion };
}

/** Of a version before the newest: fields that came since are missing in it, and not because it was decided so. */
export const isOld = (event: Logged): boolean => event.storedVersion < event.schemaVersion;
