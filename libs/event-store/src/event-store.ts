/**
 * What the log promises, whatever keeps it (here: Postgres, `postgres-event-store.ts`).
 * - What was appended stays: no update, no delete, no reordering.
 * - An append is all or nothing, over all the streams it names, and only when each stands as expected.
 * - The same command appended twice is stored once, and answers the same.
 * - A reader that keeps the position it has read never misses an event, however late a writer commits.
 */
import type {
  Category,
  Event,
  EventMetadata,
  EventType,
  Recorded,
  StoredRecord,
  StreamName,
} from '@backhaul/contracts';
import type { Result } from '@backhaul/kernel';
import type { Kysely } from 'kysely';
import type { PoolClient } from 'pg';

/** How a stream must stand: an exact version (0: none yet), `none`, `exists` (at least one event), or `any`. */
export type Expectation = number | 'none' | 'exists' | 'any';

export interface StreamAppend {
  readonly stream: StreamName;
  readonly expected: Expectation;
  readonly events: readonly Event[];
}

/** `commandId` names the cause: event ids are derived from it and the event's index, so a repeat stores nothing. */
export interface AppendContext {
  readonly commandId: string;
  readonly metadata: EventMetadata;
  /** Where one append holds events of several correlations (a host's stream does): the correlation of each; undefined: the metadata's. */
  readonly correlationOf?: (event: Event) => string | undefined;
  /** Where one append holds what several messages led to: the cause of each; undefined: the metadata's. */
  readonly causeOf?: (event: Event) => Pick<EventMetadata, 'causation' | 'traceparent'> | undefined;
}

/** What one cause asks of the log. */
export interface Command {
  readonly appends: readonly StreamAppend[];
  readonly context: AppendContext;
}

export interface Appended {
  readonly events: readonly Recorded[];
  /** True when this command had been appended before: `events` are those stored then. */
  readonly duplicate: boolean;
}

/** The stream did not stand as expected. Load it again and decide again. */
export interface VersionConflict {
  readonly code: 'VersionConflict';
  readonly message: string;
  readonly stream: string;
  readonly expected: Expectation;
  readonly actual: number;
}

export interface LogPage {
  /** Looking at them throws a permanent Fault when one does not fit its schema. */
  readonly events: readonly Recorded[];
  /** Where to read on from. Moves over events that were filtered out, so a page may be empty and still get on. */
  readonly next: number;
  /** Everything at or below this position is visible, for good. */
  readonly highWater: number;
}

export interface LogFilter {
  readonly categories?: readonly Category[];
  readonly types?: readonly EventType[];
  /** Events of one correlation only: the whole story of one backup. */
  readonly correlation?: string;
}

/** A page of the log as it is stored: data of the schema version that it was recorded with, of types known here or not. */
export interface StoredPage extends Omit<LogPage, 'events'> {
  readonly records: readonly StoredRecord[];
}

export interface StreamPage {
  readonly events: readonly Recorded[];
  /** The version read up to, over events of types that this release does not know, too. */
  readonly version: number;
  readonly more: boolean;
}

export interface StreamAfter {
  readonly stream: StreamName;
  readonly after: number;
}

export interface StreamReader {
  /** Events of a stream in order, from after `afterVersion` (default 0). Read in pages; empty when there is no such stream. */
  readStream(stream: StreamName, afterVersion?: number): AsyncIterable<Recorded>;
  /** One page of it (default 1,000 events), and the version to expect or to read on from. */
  readStreamPage(stream: StreamName, afterVersion?: number, limit?: number): Promise<StreamPage>;
}

export interface LogReader extends StreamReader {
  /** The log after a position, in order, up to the high water. At most `limit` events (default 1,000). */
  readLog(after: number, options?: LogFilter & { readonly limit?: number }): Promise<LogPage>;
}

/**
 * One Postgres transaction: what a message handler reads, appends and notes becomes true together or not at all.
 * Appending must be the last statement: it takes the log's shared lock, which is held until the commit.
 */
export interface EventTransaction extends StreamReader {
  readonly client: PoolClient;
  // biome-ignore lint/suspicious/noExplicitAny: every service brings the tables it knows
  readonly kysely: Kysely<any>;
  /**
   * True once an append of this transaction is on its way or was accepted, whoever of those that share it has made it: what is read in it
   * from then on may not be committed yet, and is not to be remembered.
   */
  readonly hasAppended: boolean;
  append(
    appends: readonly StreamAppend[],
    context: AppendContext,
  ): Promise<Result<Appended, VersionConflict>>;
  /** Several commands in one call, each with an outcome of its own; they name no stream twice among them. */
  appendEach(commands: readonly Command[]): Promise<Result<Appended, VersionConflict>[]>;
  /** A page of each of several streams, in one question; answers in the order asked. */
  readStreamPages(streams: readonly StreamAfter[]): Promise<StreamPage[]>;
  /** Calls back after the commit; never when it is rolled back. */
  onCommitted(listener: () => void): void;
}

export interface EventStore extends LogReader {
  /** The log as it is stored, for who exports it or replays it. `except`: types that are passed over. */
  readStoredLog(
    after: number,
    options?: { readonly except?: readonly string[]; readonly limit?: number },
  ): Promise<StoredPage>;
  /** The same of what this login may append, by the table `owners`: what its relay tells the others. At most `limit` events (default 1,000). */
  readOwnLog(after: number, options?: { readonly limit?: number }): Promise<StoredPage>;
  append(
    appends: readonly StreamAppend[],
    context: AppendContext,
  ): Promise<Result<Appended, VersionConflict>>;
  /** Commits when `work` resolves, rolls back when it rejects. */
  transaction<T>(work: (transaction: EventTransaction) => Promise<T>): Promise<T>;
  /** Calls back after every commit of an append of this process: the relay's wake-up. Returns the unsubscriber. */
  onAppended(listener: (events: readonly Recorded[]) => void): () => void;
  /** Reads and writes outside an append: projections, checkpoints, inspection. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly kysely: Kysely<any>;
  close(): Promise<void>;
}
