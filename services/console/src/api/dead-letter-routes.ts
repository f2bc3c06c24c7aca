/**
 * Dead letters: messages that can never work, kept by whoever could not handle them. Read where messaging keeps them; who had one
 * sent again is known from the log.
 */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { type RawBuilder, sql } from 'kysely';
import { tableRef } from '../adapters/row-storage.ts';
import { withSnapshot } from '../adapters/snapshot.ts';
import { redrives } from '../projections/redrives.ts';
import { listQuery } from './lists.ts';
import { afterCursor, cursorOf, type Order, whole } from './paging.ts';
import { type Route, route } from './route.ts';

const order: Order = { columns: [whole('id')], direction: 'desc' };

interface DeadLetterRow {
  readonly id: number;
  readonly consumer: string;
  readonly subject: string;
  readonly message_id: string;
  readonly event_id: string | null;
  readonly reason: string;
  readonly created_at: string;
  readonly sent_at: string | null;
  readonly redriven_at: string | null;
  readonly requested_by: string | null;
  readonly redrive_reason: string | null;
  readonly came_back_as: string | null;
}

export const deadLetterRoutes = (store: EventStore): Route[] => [
  route({
    path: '/dead-letters',
    summary: 'Messages that can never work, and why, newest first',
    query: listQuery(consoleApi.lists['dead-letters'].filters),
    answer: consoleApi.listOf(consoleApi.DeadLetterView),
    handle: ({ query }) =>
      withSnapshot(store, async ({ db, generation, asOf }) => {
        const { limit, after, state } = query as { limit: number; after?: string; state?: string[] };
        const conditions: RawBuilder<unknown>[] = [sql`true`];
        if (after !== undefined) conditions.push(afterCursor(order, after));
        if (state !== undefined) {
          conditions.push(
            sql`case when redrive.redriven_at is null then 'open' else 'redriven' end = any(${state}::text[])`,
          );
        }
        const { rows } = await sql<DeadLetterRow>`
          select id, consumer, subject, message_id, event_id, letter.reason, created_at, letter.redriven_at as sent_at,
            redrive.redriven_at, requested_by, redrive.reason as redrive_reason,
            (select min(next.id)::text from public.dead_letters next
             where next.message_id = letter.message_id and next.consumer = letter.consumer and next.id > letter.id
            ) as came_back_as
          from public.dead_letters letter
          left join ${tableRef(redrives.table, generation)} redrive on redrive.dead_letter_id = letter.id::text
          where ${sql.join(conditions, sql` and `)}
          order by id desc limit ${limit + 1}`.execute(db);
        const page = rows.slice(0, limit);
        const last = page.at(-1);
        return {
          asOf,
          items: page.map((row) => ({
            deadLetterId: String(row.id),
            consumer: row.consumer,
            subject: row.subject,
            messageId: row.message_id,
            eventId: row.event_id,
            reason: row.reason,
            createdAt: row.created_at,
            redrivenAt: row.redriven_at,
            redrivenBy: row.requested_by,
            redriveReason: row.redrive_reason,
            sentAt: row.sent_at,
            cameBackAs: row.came_back_as,
          })),
          next: rows.length > limit && last !== undefined ? cursorOf(order, { ...last }) : null,
        };
      }),
  }),
];
