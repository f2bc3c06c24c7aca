/**
 * Appends as the functions `append_events` and `append_event` take them (sql/0001-log.sql and sql/0006-append-one.sql say what they
 * guarantee): prepared from what callers decided, one command or a group of them per call, and the answer turned back into recorded events.
 */
import {
  type Category,
  catalogue,
  categoryOf,
  EVENT_DATA_BYTES_MAX,
  type Event,
  type EventMetadata,
  type Recorded,
} from '@backhaul/contracts';
import { derivedId, invariant, ok, type Result, refuse } from '@backhaul/kernel';
import type { Pool, PoolClient } from 'pg';
import type { AppendContext, Appended, Expectation, StreamAppend, VersionConflict } from './event-store.ts';
import { readCommand } from './reading.ts';

const APPEND = {
  name: 'append_events',
  text: `select outcomes, versions, positions, recorded_at
         from public.append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
};

/** The same order as in the parameters. Positions and versions count from 1; outcomes: 0, -1 or the stream in the way. */
interface AppendAnswer {
  readonly outcomes: number[];
  readonly versions: number[];
  readonly positions: number[];
  readonly recorded_at: string;
}

/** For one event to one stream, which most appends are: scalars cost half of what arrays of one do, on either side. */
const APPEND_ONE = {
  name: 'append_event',
  text: `select outcome, stood_at, new_position, recorded
         from public.append_event($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
};

interface AppendOneAnswer {
  readonly outcome: number;
  readonly stood_at: number;
  readonly new_position: number;
  readonly recorded: string;
}

/** One command, checked and ready to be sent. */
export interface PreparedAppend {
  readonly appends: readonly StreamAppend[];
  readonly context: AppendContext;
  /** In the order in which the caller named them, which becomes the order of the log. */
  readonly drafts: readonly Draft[];
}

interface Draft {
  readonly event: Event;
  /** The event's data as it is sent. */
  readonly json: string;
  readonly eventId: string;
  readonly stream: string;
  readonly category: Category;
  readonly offset: number;
  readonly schemaVersion: number;
  readonly metadata: EventMetadata;
}

/**
 * Data that does not fit its contract, or is more than a message can carry, is a bug of the caller and fails here, before anything is sent.
 * Metadata may come from outside; it is stored as lines, and so a line break in it becomes a space; and what is longer than any name of
 * ours is cut.
 */
export function prepare(appends: readonly StreamAppend[], given: AppendContext): PreparedAppend {
  const context = { ...given, metadata: oneLineEach(given.metadata) };
  const drafts: Draft[] = [];
  for (const { stream, events } of appends) {
    const category = categoryOf(stream);
    for (const [index, event] of events.entries()) {
      const definition = catalogue[event.type];
      invariant(definition.category === category, `${event.type} does not belong into stream ${stream}`);
      const checked = definition.data.safeParse(event.data);
      invariant(checked.success, `A new ${event.type} does not fit its contract: ${checked.error?.message}`);
      const json = JSON.stringify(checked.data);
      assertCarried(event.type, stream, json);
      drafts.push({
        event: { type: event.type, data: checked.data } as Event,
        json,
        eventId: derivedId(context.commandId, drafts.length),
        stream,
        category,
        offset: index + 1,
        schemaVersion: definition.schemaVersion,
        metadata: metadataOf(event, context),
      });
    }
  }
  return { appends, context, drafts };
}

function assertCarried(type: string, stream: string, json: string): void {
  // A character of UTF-16 takes at most three bytes: of what is short the bytes need not be counted.
  if (json.length * 3 <= EVENT_DATA_BYTES_MAX) return;
  const bytes = Buffer.byteLength(json);
  invariant(
    bytes <= EVENT_DATA_BYTES_MAX,
    `A new ${type} of stream ${stream} has ${bytes} bytes of data, and an event carries at most ${EVENT_DATA_BYTES_MAX}`,
  );
}

/**
 * Sends commands that name no stream twice among them. Answers in their order; throws what Postgres throws, and then none
 * of them is stored.
 */
export async function send(
  connection: Pool | PoolClient,
  commands: readonly PreparedAppend[],
): Promise<Result<Appended, VersionConflict>[]> {
  const [command] = commands;
  const [append] = command?.appends ?? [];
  const [draft] = command?.drafts ?? [];
  const isOneEvent = commands.length === 1 && command?.appends.length === 1 && command.drafts.length === 1;
  return isOneEvent && append !== undefined && draft !== undefined
    ? [await sendOne(connection, command, append, draft)]
    : await sendMany(connection, commands);
}

async function sendOne(
  connection: Pool | PoolClient,
  { context }: PreparedAppend,
  append: StreamAppend,
  draft: Draft,
): Promise<Result<Appended, VersionConflict>> {
  const { eventId, event, json, schemaVersion, metadata } = draft;
  const { rows } = await connection.query<AppendOneAnswer>({
    ...APPEND_ONE,
    values: [
      eventId,
      append.stream,
      encoded(append.expected),
      event.type,
      schemaVersion,
      metadata.correlation,
      metadata.causation,
      metadata.traceparent ?? null,
      context.metadata.actor,
      json,
    ],
  });
  const answer = rows[0];
  invariant(answer !== undefined, 'append_event answers with one row');
  if (answer.outcome > 0) return refuse(versionConflict(append, answer.stood_at));
  if (answer.outcome < 0)
    return ok({ events: await readCommand(connection, context.commandId), duplicate: true });
  const version = answer.stood_at + 1;
  return ok({ events: [recorded(draft, version, answer.new_position, answer.recorded)], duplicate: false });
}

async function sendMany(
  connection: Pool | PoolClient,
  commands: readonly PreparedAppend[],
): Promise<Result<Appended, VersionConflict>[]> {
  const streams = commands
    .flatMap(({ appends }, command) => appends.map((append) => ({ ...append, command: command + 1 })))
    .sort((a, b) => (a.stream < b.stream ? -1 : 1)); // names are ASCII: Postgres orders their bytes alike
  const streamIndex = new Map(streams.map(({ stream }, index) => [stream as string, index + 1]));
  invariant(streamIndex.size === streams.length, 'An append names each stream once');
  const drafts =
    commands.length === 1 ? (commands[0]?.drafts ?? []) : commands.flatMap((each) => each.drafts);

  const { rows } = await connection.query<AppendAnswer>({
    ...APPEND,
    values: [
      commands.map(({ drafts }) => drafts[0]?.eventId ?? null),
      drafts.map(({ metadata }) => metadata.causation),
      drafts.map(({ metadata }) => metadata.traceparent ?? null),
      commands.map(({ context }) => context.metadata.actor),
      streams.map((each) => each.command),
      streams.map((each) => each.stream),
      streams.map((each) => encoded(each.expected)),
      streams.map((each) => each.events.length),
      drafts.map((draft) => draft.eventId),
      drafts.map((draft) => streamIndex.get(draft.stream)),
      drafts.map((draft) => draft.offset),
      drafts.map((draft) => draft.event.type),
      drafts.map((draft) => draft.schemaVersion),
      drafts.map(({ metadata }) => metadata.correlation),
      `[${drafts.map(({ json }) => json).join(',')}]`,
    ],
  });
  const answer = rows[0];
  invariant(answer !== undefined, 'append_events answers with one row');

  const results: Result<Appended, VersionConflict>[] = [];
  let first = 0;
  for (const [index, { drafts, context }] of commands.entries()) {
    const outcome = answer.outcomes[index] ?? 0;
    if (outcome > 0) {
      const inTheWay = streams[outcome - 1];
      invariant(inTheWay !== undefined, 'A conflict names its stream');
      results.push(refuse(versionConflict(inTheWay, answer.versions[outcome - 1] ?? 0)));
    } else if (outcome < 0) {
      results.push(ok({ events: await readCommand(connection, context.commandId), duplicate: true }));
    } else {
      const events = drafts.map((draft, offset) => {
        const version = (answer.versions[(streamIndex.get(draft.stream) ?? 0) - 1] ?? 0) + draft.offset;
        return recorded(draft, version, answer.positions[first + offset] ?? 0, answer.recorded_at);
      });
      results.push(ok({ events, duplicate: false }));
    }
    first += drafts.length;
  }
  return results;
}

function recorded(
  { event, eventId, stream, category, schemaVersion, metadata }: Draft,
  version: number,
  position: number,
  recordedAt: string,
): Recorded {
  return {
    type: event.type,
    data: event.data,
    eventId,
    position,
    stream,
    category,
    version,
    schemaVersion,
    metadata,
    recordedAt,
  } as Recorded;
}

/** An event's own cause and correlation stand in place of the command's. */
function metadataOf(event: Event, { metadata, correlationOf, causeOf }: AppendContext): EventMetadata {
  const [cause, correlation] = [causeOf?.(event), correlationOf?.(event)];
  if (cause === undefined && correlation === undefined) return metadata;
  const { traceparent: _, ...given } = metadata;
  const caused = cause === undefined ? metadata : { ...given, ...cause };
  return oneLineEach({ ...caused, correlation: correlation ?? metadata.correlation });
}

function oneLineEach({ correlation, causation, traceparent, actor }: EventMetadata): EventMetadata {
  const metadata = {
    correlation: oneLine(correlation),
    causation: oneLine(causation),
    actor: oneLine(actor),
  };
  return traceparent === undefined ? metadata : { ...metadata, traceparent: oneLine(traceparent) };
}

/** All of them travel as headers, percent-encoded, and JetStream carries 64 KiB of headers. */
const METADATA_CHARACTERS_MAX = 1_000;

function oneLine(text: string): string {
  const short =
    text.length > METADATA_CHARACTERS_MAX ? text.slice(0, METADATA_CHARACTERS_MAX).toWellFormed() : text;
  return short.includes('\n') ? short.replaceAll('\n', ' ') : short;
}

function encoded(expected: Expectation): number {
  switch (expected) {
    case 'none':
      return 0;
    case 'exists':
      return -1;
    case 'any':
      return -2;
    default:
      invariant(Number.isSafeInteger(expected) && expected >= 0, `${expected} is no version of a stream`);
      return expected;
  }
}

function versionConflict({ stream, expected }: StreamAppend, actual: number): VersionConflict {
  const wanted = typeof expected === 'number' ? `at version ${expected}` : `to be "${expected}"`;
  return {
    code: 'VersionConflict',
    message: `Stream ${stream} was expected ${wanted}, and stands at version ${actual}.`,
    stream,
    expected,
    actual,
  };
}
