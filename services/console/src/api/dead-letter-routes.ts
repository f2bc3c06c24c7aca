/** Dead letters: messages that can never work, kept by whoever could not handle them. Read where messaging keeps them. */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { type RawBuilder, sql } from 'kysely';
import { withSnapshot } from '../adapters/snapshot.ts';
import { listQuery } from './lists.ts';
import { afterCursor, cursorOf, type Order } from './paging.ts';
import { type Route, route } from './route.ts';

const order: Order = { columns: ['id'], direction: 'desc' };

interface DeadLetterRow {
  readonly id: number;
  readonly consumer: string;
  readonly subject: string;
  readonly message_id: string;
  readonly event_id: string | null;
  readonly reason: string;
  readonly created_at: string;
  readonly redriven_at: string | null;
}

export const deadLetterRoutes = (store: EventStore): Route[] => [
  route({
    path: '/dead-letters',
    summary: 'Messages that can never work, and why, newest first',
    query: listQuery(consoleApi.lists['dead-letters'].filters),
    answer: consoleApi.listOf(consoleApi.DeadLetterView),
    handle: ({ query }) =>
      withSnapshot(store, async ({ db, asOf }) => {
        const { limit, after, state } = query as { limit: number; after?: string; state?: string[] };
        const conditions: RawBuilder<unknown>[] = [sql`true`];
        if (after !== undefined) conditions.push(afterCursor(order, after));
        if (state !== undefined) {
          conditions.push(
            sql`case when redriven_at is null then 'open' else 'redriven' end = any(${state}::text[])`,
          );
        }
        const { rows } = await sql<DeadLetterRow>`
          select id, consumer, subject, message_id, event_id, reason, created_at, redriven_at
          from public.dead_letters where ${sql.join(conditions, sql` and `)}
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
          })),
          next: rows.length > limit && last !== undefined ? cursorOf(order, { ...last }) : null,
        };
      }),
  }),
];
