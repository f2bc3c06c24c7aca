/**
 * Appends as the function `append_events` takes them (sql/0001-log.sql says what it guarantees): prepared from what callers
 * decided, one command or a group of them per call, and its answer turned back into recorded events.
 */
import {
  type Category,
  catalogue,
  categoryOf,
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

/** One command, checked and ready to be sent. */
export interface PreparedAppend {
  readonly appends: readonly StreamAppend[];
  readonly context: AppendContext;
  /** In the order in which the caller named them, which becomes the order of the log. */
  readonly drafts: readonly Draft[];
}

interface Draft {
  readonly event: Event;
  readonly eventId: string;
  readonly stream: string;
  readonly category: Category;
  readonly offset: number;
  readonly schemaVersion: number;
  readonly metadata: EventMetadata;
}

/**
 * Data that does not fit its contract is a bug of the caller and fails here, before anything is sent. Metadata may come from
 * outside; it is stored as lines, and so a line break in it becomes a space.
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
      drafts.push({
        event: { type: event.type, data: checked.data } as Event,
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

/**
 * Sends commands that name no stream twice among them. Answers in their order; throws what Postgres throws, and then none
 * of them is stored.
 */
export async function send(
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
      JSON.stringify(drafts.map((draft) => draft.event.data)),
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

const oneLine = (text: string): string => (text.includes('\n') ? text.replaceAll('\n', ' ') : text);

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
