/** What the two kinds of run have in common: a row by its id or a beginning of it, and the whole story from the log. */
import { catalogue, consoleApi, type EventType } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { sql } from 'kysely';
import { z } from 'zod';
import { columnName, decode, type Row, tableRef } from '../adapters/row-storage.ts';
import { withSnapshot } from '../adapters/snapshot.ts';
import { type Run, readStoryPage } from '../adapters/story.ts';
import type { Projection } from '../projection.ts';
import { severalOf } from './lists.ts';
import { paging } from './paging.ts';
import { ApiProblem, badRequest, notFound } from './problem.ts';
import { type Route, route } from './route.ts';

export interface KindOfRun<View extends { position: number }> {
  /** For people: `backup`. */
  readonly noun: string;
  /** The list of them, as its path has it. */
  readonly list: string;
  readonly projection: Projection<View>;
  readonly idColumn: keyof View & string;
  runOf(view: View): Run;
}

export interface Found<View> {
  readonly asOf: number;
  readonly item: View;
}

/** The row of one run, named by its id or by a beginning of it that no other of its kind has. */
export async function findRun<View extends { position: number }>(
  store: EventStore,
  kind: KindOfRun<View>,
  id: string,
): Promise<Found<View>> {
  const { noun, list, projection, idColumn } = kind;
  if (!/^[0-9a-f-]{1,36}$/i.test(id)) {
    throw badRequest(
      `Bad${capital(noun)}Id`,
      `${id.slice(0, 80)} is no ${noun} id.`,
      'Give a UUID, or the beginning of one.',
    );
  }
  return await withSnapshot(store, async ({ db, generation, asOf }) => {
    const column = sql.ref(columnName(idColumn));
    const { rows } = await sql<Row>`
      select * from ${tableRef(projection.table, generation)}
      where starts_with(${column}, ${id.toLowerCase()}) order by ${column} limit 5`.execute(db);
    const [item, ...others] = rows.map((row) => decode(projection, row) as View);
    if (item === undefined) {
      throw notFound(
        `There is no ${noun} ${id} (as of position ${asOf} of the log).`,
        `GET /api/v1/${list} lists those there are.`,
      );
    }
    if (others.length > 0) throw ambiguous(id, kind, [item, ...others]);
    return { asOf, item };
  });
}

export const eventsRoute = <View extends { position: number }>(
  store: EventStore,
  kind: KindOfRun<View>,
): Route =>
  route({
    path: `/${kind.list}/:id/events`,
    summary: `The whole story of a ${kind.noun} in order, from the log`,
    query: z.strictObject({
      limit: paging.limit,
      after: z.coerce
        .number({ error: 'must be a position of the log' })
        .int('must be a position of the log')
        .nonnegative('must be a position of the log')
        .default(0)
        .describe('The `next` of the page before, or the position of an event'),
      type: severalOf(z.enum(eventTypes)).optional().describe('Types of events, with commas between them'),
    }),
    answer: consoleApi.listOf(consoleApi.RecordedEvent),
    async handle({ id, query }) {
      const { item } = await findRun(store, kind, id);
      const { limit, after, type } = query;
      const page = await readStoryPage(store, kind.runOf(item), {
        after,
        limit,
        ...(type === undefined ? {} : { types: type as EventType[] }),
      });
      return {
        asOf: page.asOf,
        items: page.events as unknown as consoleApi.RecordedEvent[],
        next: page.next === undefined ? null : String(page.next),
      };
    },
  });

const eventTypes = Object.keys(catalogue) as EventType[];
/** Millions in a large run, and none says why. */
const CHUNKS: readonly EventType[] = ['ChunkReceived', 'ChunkExported'];
export const explaining = eventTypes.filter((type) => !CHUNKS.includes(type));

const ambiguous = <View extends { position: number }>(
  id: string,
  { noun, list, idColumn }: KindOfRun<View>,
  found: readonly View[],
): ApiProblem =>
  new ApiProblem({
    status: 409,
    code: `Ambiguous${capital(noun)}Id`,
    title: `More than one ${noun} is meant`,
    detail: `${id} is the beginning of several ${list}: ${found.map((each) => each[idColumn]).join(', ')}${found.length === 5 ? ' ...' : ''}.`,
    wayOut: 'Give more of the id.',
  });

const capital = (noun: string): string => noun.charAt(0).toUpperCase() + noun.slice(1);
