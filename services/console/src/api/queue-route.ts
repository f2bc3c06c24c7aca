/** Who waits, what for, and when it would start: for a turn at its VM from the projections, and at a host from the host's own pool. */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { waitsOf } from '@backhaul/pool';
import { sql } from 'kysely';
import { z } from 'zod';
import { Pools } from '../adapters/pools.ts';
import { decode, type Row, tableRef } from '../adapters/row-storage.ts';
import { withSnapshot } from '../adapters/snapshot.ts';
import { hosts } from '../projections/hosts.ts';
import { vms } from '../projections/vms.ts';
import { Text } from './paging.ts';
import { type Route, route } from './route.ts';

export function queueRoutes(store: EventStore): Route[] {
  const pools = new Pools(store);
  return [
    route({
      path: '/queue',
      summary: 'Runs that wait, what each waits for, and when it would start',
      query: z.strictObject({ host: Text.optional() }),
      answer: consoleApi.listOf(consoleApi.QueueView),
      async handle({ query: { host } }) {
        const { hostIds, busyVms, asOf } = await rowsOf(store, host);
        const items: consoleApi.QueueView[] = [];
        for (const hostId of hostIds) {
          const waits = await pools.read(hostId, waitsOf);
          items.push(...waits.map((wait) => ({ hostId, ...wait })));
        }
        return { asOf, items: [...items, ...busyVms.flatMap(turnsOf)], next: null };
      },
    }),
  ];
}

async function rowsOf(store: EventStore, host: string | undefined) {
  return await withSnapshot(store, async ({ db, generation, asOf }) => {
    const ofHost = host === undefined ? sql`true` : sql`host_id = ${host}`;
    const found = await sql<{ host_id: string }>`
      select host_id from ${tableRef(hosts.table, generation)} where ${ofHost} order by host_id`.execute(db);
    const busy = await sql<Row>`
      select * from ${tableRef(vms.table, generation)}
      where ${ofHost} and queued <> '[]'::jsonb order by host_id, vm_id`.execute(db);
    return {
      asOf,
      hostIds: found.rows.map(({ host_id }) => host_id),
      busyVms: busy.rows.map((row) => decode(vms, row) as unknown as consoleApi.VmView),
    };
  });
}

function turnsOf({ hostId, vmId, running, queued }: consoleApi.VmView): consoleApi.QueueView[] {
  return queued.map(({ purpose, runId, priority, askedAt }, index) => {
    const before = queued[index - 1] ?? running;
    const behind = before === null ? 'nobody' : `${before.purpose} ${before.runId}`;
    return {
      ...{ hostId, vmId, purpose, runId, priority, askedAt },
      waitsFor: 'turn',
      because: `vm ${vmId} is busy: it comes after ${behind}`,
      ...{ place: index + 1, of: queued.length, startsInSeconds: null },
      estimate: 'unknown: what comes before it at its vm has to end, and it is not planned yet',
    };
  });
}
