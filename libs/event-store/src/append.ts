/**
 * One append, as one call of the function `append_events` (sql/0001-log.sql says what it guarantees): prepared here from
 * what the caller decided, and its answer turned back into recorded events.
 */
import { catalogue, categoryOf, type Recorded } from '@backhaul/contracts';
import { derivedId, invariant, ok, type Result, refuse } from '@backhaul/kernel';
import type { Pool, PoolClient } from 'pg';
import type { AppendContext, Appended, Expectation, StreamAppend, VersionConflict } from './event-store.ts';
import { readCommand } from './reading.ts';

const APPEND = {
  name: 'append_events',
  text: `select outcome, conflict_stream, versions, positions, recorded_at
         from public.append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
};

interface AppendAnswer {
  readonly outcome: 'appended' | 'duplicate' | 'conflict';
  /** Index from 1 of the stream in the way. */
  readonly conflict_stream: number | null;
  /** Of each stream, before the append. */
  readonly versions: number[];
  readonly positions: number[];
  readonly recorded_at: string;
}

/**
 * Throws what Postgres throws. Data that does not fit the contract is a bug of the caller and fails before anything is sent.
 */
export async function append(
  connection: Pool | PoolClient,
  appends: readonly StreamAppend[],
  context: AppendContext,
): Promise<Result<Appended, VersionConflict>> {
  const { sorted, drafts, values } = prepare(appends, context);
  const { rows } = await connection.query<AppendAnswer>({ ...APPEND, values });
  const answer = rows[0];
  invariant(answer !== undefined, 'append_events answers with one row');
  switch (answer.outcome) {
    case 'appended':
      return ok({ events: drafts.map((draft, index) => recorded(draft, index, answer)), duplicate: false });
    case 'duplicate':
      return ok({ events: await readCommand(connection, context.commandId), duplicate: true });
    case 'conflict': {
      const index = (answer.conflict_stream ?? 0) - 1;
      const [conflicting, actual] = [sorted[index], answer.versions[index]];
      invariant(conflicting !== undefined && actual !== undefined, 'A conflict names its stream');
      return refuse(versionConflict(conflicting, actual));
    }
  }
}

type Draft = Omit<Recorded, 'position' | 'version' | 'recordedAt'> & {
  readonly streamIndex: number;
  readonly offset: number;
};

function prepare(
  appends: readonly StreamAppend[],
  context: AppendContext,
): { sorted: readonly StreamAppend[]; drafts: Draft[]; values: unknown[] } {
  const sorted = appends.length === 1 ? appends : [...appends].sort(byStreamBytes);
  const { causation, traceparent, actor } = context.metadata;
  const drafts: Draft[] = [];
  // Positions are given in the order in which the caller named the streams, whatever the order of locking.
  for (const { stream, events } of appends) {
    const streamIndex = sorted.findIndex((other) => other.stream === stream) + 1;
    const category = categoryOf(stream);
    let offset = 0;
    for (const event of events) {
      const { type, data } = event;
      const definition = catalogue[type];
      invariant(definition.category === category, `${type} does not belong into stream ${stream}`);
      const checked = definition.data.safeParse(data);
      invariant(checked.success, `A new ${type} does not fit its contract: ${checked.error?.message}`);
      offset += 1;
      drafts.push({
        type,
        data: checked.data,
        eventId: derivedId(context.commandId, drafts.length),
        stream,
        category,
        schemaVersion: definition.schemaVersion,
        metadata: {
          ...context.metadata,
          correlation: context.correlationOf?.(event) ?? context.metadata.correlation,
        },
        streamIndex,
        offset,
      } as Draft);
    }
  }
  const values = [
    sorted.map((each) => each.stream),
    sorted.map((each) => encoded(each.expected)),
    sorted.map((each) => each.events.length),
    drafts.map((draft) => draft.eventId),
    drafts.map((draft) => draft.streamIndex),
    drafts.map((draft) => draft.offset),
    drafts.map((draft) => draft.type),
    drafts.map((draft) => draft.schemaVersion),
    drafts.map((draft) => draft.metadata.correlation),
    JSON.stringify(drafts.map((draft) => draft.data)),
    causation,
    traceparent ?? null,
    actor,
  ];
  return { sorted, drafts, values };
}

function recorded(draft: Draft, index: number, answer: AppendAnswer): Recorded {
  const { streamIndex, offset, ...event } = draft;
  return {
    ...event,
    position: answer.positions[index],
    version: (answer.versions[streamIndex - 1] ?? 0) + offset,
    recordedAt: answer.recorded_at,
  } as Recorded;
}

/** The order in which Postgres compares them, and so the order of locking for everybody. */
const byStreamBytes = (a: StreamAppend, b: StreamAppend): number =>
  Buffer.compare(Buffer.from(a.stream), Buffer.from(b.stream));

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
