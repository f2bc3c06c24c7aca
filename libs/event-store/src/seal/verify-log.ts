/**
 * Proves, from the rows alone and without any service, that the log still is what was sealed: nothing changed, dropped, put in or
 * reordered. What it cannot know by itself is whether the chain was cut off at its end, or made anew with another key: for that
 * it is given the public key, and a seal that somebody noted down elsewhere.
 */
import { hash } from 'node:crypto';
import type { EventStore } from '../event-store.ts';
import { type Entry, unpackEntries } from './fingerprint.ts';
import { isSignedBy } from './key.ts';
import { entriesOf, nextSeal, type StoredSeal } from './reading.ts';
import { hashOfStatement, NO_SEAL, readStatement, type SealStatement } from './statement.ts';

const PAGE_EVENTS = 4_096;

export interface NotedSeal {
  readonly seal: number;
  readonly hash: string;
}

export type LogVerdict =
  | {
      readonly ok: true;
      readonly seals: number;
      /** Events that are sealed, and the position up to which. */
      readonly events: number;
      readonly through: number;
      /** Events behind the newest seal: of these only their own content hashes are known. */
      readonly unsealed: number;
      /** Undefined while there is no seal. */
      readonly key: string | undefined;
      readonly newest: NotedSeal | undefined;
    }
  | { readonly ok: false; readonly position: number; readonly message: string };

/** The first difference from the start of the log, by position. */
export async function verifyLog(
  store: EventStore,
  trusted: { publicKey?: string | undefined; noted?: NotedSeal | undefined } = {},
): Promise<LogVerdict> {
  let previous = { seal: 0, hash: NO_SEAL, through: 0, key: trusted.publicKey };
  let events = 0;
  for (;;) {
    const stored = await nextSeal(store, previous.seal);
    if (stored === undefined) break;
    const start = previous.through + 1;
    const checked = checkSeal(stored, previous);
    if (typeof checked === 'string') return different(start, checked);
    const noted = trusted.noted?.seal === stored.seal ? trusted.noted.hash : undefined;
    const sealHash = hashOfStatement(stored.statement);
    if (noted !== undefined && noted !== sealHash)
      return different(start, `seal ${stored.seal} is another one than was noted down (${noted})`);
    const difference = await compare(store, checked, unpackEntries(stored.entries));
    if (difference !== undefined) return difference;
    events += checked.events;
    previous = { seal: stored.seal, hash: sealHash, through: checked.through, key: checked.key };
  }
  const { seal, through, key } = previous;
  if (trusted.noted !== undefined && trusted.noted.seal > seal)
    return different(
      through + 1,
      `the chain ends with seal ${seal}, and seal ${trusted.noted.seal} was noted down`,
    );
  const tail = await checkTail(store, through);
  if (typeof tail !== 'number') return tail;
  const newest = seal === 0 ? undefined : { seal, hash: previous.hash };
  return { ok: true, seals: seal, events, through, unsealed: tail, key: newest && key, newest };
}

const different = (position: number, message: string): LogVerdict => ({ ok: false, position, message });

/** The statement, or what is wrong with it. */
function checkSeal(
  { seal, statement: text, signature, entries }: StoredSeal,
  previous: { seal: number; hash: string; through: number; key: string | undefined },
): SealStatement | string {
  if (seal !== previous.seal + 1) return `seal ${previous.seal + 1} is missing`;
  const statement = readStatement(text);
  if (statement === undefined) return `seal ${seal} was changed: it is no statement of a seal`;
  if (previous.key !== undefined && statement.key !== previous.key)
    return `seal ${seal} is signed with the key ${statement.key}, and not with ${previous.key}`;
  if (!isSignedBy(statement.key, text, signature))
    return `seal ${seal} was changed: its signature does not fit what it says`;
  if (statement.seal !== seal || statement.previous !== previous.hash || statement.after !== previous.through)
    return `seal ${seal} does not follow seal ${previous.seal}: the chain was put together anew`;
  if (hash('sha256', entries) !== statement.root)
    return `seal ${seal} was changed: its entries do not fit its root`;
  return statement;
}

async function compare(
  store: EventStore,
  { seal, after, through }: SealStatement,
  sealed: readonly Omit<Entry, 'fits'>[],
): Promise<LogVerdict | undefined> {
  // One more than there may be, so that one that was put in at the end shows.
  const found = await entriesOf(store, after, through, sealed.length + 1);
  const differs = (index: number): boolean => {
    const [is, was] = [found[index], sealed[index]];
    return is?.position !== was?.position || is?.fingerprint !== was?.fingerprint || is?.fits === false;
  };
  const index = Array.from({ length: Math.max(found.length, sealed.length) }, (_, at) => at).find(differs);
  if (index === undefined) return undefined;
  const [is, was] = [found[index], sealed[index]];
  if (was !== undefined && (is === undefined || is.position > was.position))
    return different(was.position, `the event that seal ${seal} has there was dropped`);
  if (is === undefined) return undefined;
  if (was === undefined || is.position < was.position)
    return different(is.position, `an event was put in: seal ${seal} has none there`);
  if (is.fingerprint === was.fingerprint)
    return different(is.position, 'the content hash or the category of the event there was changed');
  const from = await sealedPositionOf(store, is.fingerprint);
  if (from !== undefined)
    return different(is.position, `the event there was sealed at position ${from}: the order was changed`);
  const how = is.fits
    ? 'what it says was changed together with its content hash, or its time of recording was'
    : 'what it says was changed: it does not fit its content hash';
  return different(is.position, `the event there is not the one of seal ${seal}: ${how}`);
}

/** Looked for only when something is wrong already. */
async function sealedPositionOf(store: EventStore, fingerprint: string): Promise<number | undefined> {
  for (let above = 0; ; ) {
    const stored = await nextSeal(store, above);
    if (stored === undefined) return undefined;
    const entry = unpackEntries(stored.entries).find((each) => each.fingerprint === fingerprint);
    if (entry !== undefined) return entry.position;
    above = stored.seal;
  }
}

/** How many events there are that no seal covers yet. */
async function checkTail(store: EventStore, through: number): Promise<number | LogVerdict> {
  let events = 0;
  for (let after = through; ; ) {
    const page = await entriesOf(store, after, Number.MAX_SAFE_INTEGER, PAGE_EVENTS);
    const wrong = page.find(({ fits }) => !fits);
    if (wrong !== undefined)
      return different(
        wrong.position,
        'what the event there says was changed: it does not fit its content hash',
      );
    events += page.length;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE_EVENTS) return events;
    after = last.position;
  }
}
