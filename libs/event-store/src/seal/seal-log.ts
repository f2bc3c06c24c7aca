/**
 * Closes what the log has by now into seals, each over the range behind the one before. Off the way of every append: nothing waits
 * for a seal. An event that does not say what its own content hash stands for is never sealed.
 */
import { hash } from 'node:crypto';
import { Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import type { EventStore, EventTransaction } from '../event-store.ts';
import { packEntries } from './fingerprint.ts';
import type { SealKey } from './key.ts';
import { entriesOf, newestSeal } from './reading.ts';
import { hashOfStatement, NO_SEAL, readStatement, type SealStatement, statementText } from './statement.ts';

const SEAL_EVENTS_MAX = 4_096;

export interface Sealed extends SealStatement {
  /** Whoever keeps this elsewhere can tell later that the chain still holds this seal. */
  readonly hash: string;
}

/** The seals that were made, in order: none when nothing is new. Any number of processes may do so, with the same key. */
export async function sealLog(
  store: EventStore,
  key: SealKey,
  options: { now?: () => Date; eventsMax?: number; signal?: AbortSignal } = {},
): Promise<Sealed[]> {
  const { now = () => new Date(), eventsMax = SEAL_EVENTS_MAX, signal } = options;
  const made: Sealed[] = [];
  // Below it no position will ever hold anything else than it does now.
  const { highWater } = await store.readLog(Number.MAX_SAFE_INTEGER, { limit: 1 });
  for (let more = true; more && signal?.aborted !== true; ) {
    const sealed = await store.transaction((transaction) =>
      sealNext(transaction, key, { highWater, eventsMax, sealedAt: now().toISOString() }),
    );
    if (sealed !== undefined) made.push(sealed);
    more = sealed !== undefined && sealed.through < highWater;
  }
  return made;
}

async function sealNext(
  transaction: EventTransaction,
  key: SealKey,
  given: { highWater: number; eventsMax: number; sealedAt: string },
): Promise<Sealed | undefined> {
  const { highWater, eventsMax, sealedAt } = given;
  await sql`select pg_advisory_xact_lock(1111573323, 4)`.execute(transaction.kysely);
  const last = await newestSeal(transaction);
  const before = last === undefined ? undefined : readStatement(last.statement);
  if (last !== undefined && before === undefined)
    throw new Fault(`Seal ${last.seal} cannot be read: nothing is sealed behind it`, { permanent: true });
  if (before !== undefined && before.key !== key.publicKey) {
    throw new Fault(
      `The log is sealed with the key ${before.key}, and this one is ${key.publicKey}: nothing is sealed`,
      { permanent: true },
    );
  }
  const after = before?.through ?? 0;
  const entries = await entriesOf(transaction, after, highWater, eventsMax);
  const newest = entries.at(-1);
  if (newest === undefined) return undefined;
  const wrong = entries.find(({ fits }) => !fits);
  if (wrong !== undefined) {
    throw new Fault(
      `The event at position ${wrong.position} does not fit its content hash: it is not sealed, and nothing behind it`,
      { permanent: true },
    );
  }
  const packed = packEntries(entries);
  const statement: SealStatement = {
    seal: (last?.seal ?? 0) + 1,
    after,
    through: entries.length < eventsMax ? highWater : newest.position,
    events: entries.length,
    root: hash('sha256', packed),
    previous: last === undefined ? NO_SEAL : hashOfStatement(last.statement),
    sealedAt,
    key: key.publicKey,
  };
  const text = statementText(statement);
  await sql`insert into public.seals (seal, statement, signature, entries)
    values (${statement.seal}, ${text}, ${key.sign(text)}, ${packed})`.execute(transaction.kysely);
  return { ...statement, hash: hashOfStatement(text) };
}
