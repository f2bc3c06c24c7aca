/** The lists: rows of the projections, filtered and in pages. */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { type RawBuilder, sql } from 'kysely';
import { z } from 'zod';
import { decode, type Row, tableRef } from '../adapters/row-storage.ts';
import { type Snapshot, withSnapshot } from '../adapters/snapshot.ts';
import type { AnyProjection } from '../projection.ts';
import { backups } from '../projections/backups.ts';
import { childJobs } from '../projections/child-jobs.ts';
import { dataStreams } from '../projections/data-streams.ts';
import { deploymentPolicy } from '../projections/deployment-policy.ts';
import { hostPolicies } from '../projections/host-policies.ts';
import { hosts } from '../projections/hosts.ts';
import { obligations } from '../projections/obligations.ts';
import { policies } from '../projections/policies.ts';
import { proxies } from '../projections/proxies.ts';
import { recoveries } from '../projections/recoveries.ts';
import { schedules } from '../projections/schedules.ts';
import { shadowPlans } from '../projections/shadow-plans.ts';
import { vms } from '../projections/vms.ts';
import {
  afterCursor,
  cursorOf,
  type Order,
  type OrderColumn,
  orderBy,
  paging,
  Text,
  text,
  whole,
} from './paging.ts';
import { type Route, route } from './route.ts';

interface Source {
  readonly name: Exclude<consoleApi.ListName, 'dead-letters'>;
  readonly summary: string;
  readonly projection: AnyProjection;
  readonly order: Order;
}

const ascending = (...columns: OrderColumn[]): Order => ({ columns, direction: 'asc' });
const descending = (...columns: OrderColumn[]): Order => ({ columns, direction: 'desc' });

const sources: readonly Source[] = [
  {
    name: 'vms',
    summary: 'VMs and their newest restore points',
    projection: vms,
    order: ascending(text('host_id'), text('vm_id')),
  },
  {
    name: 'backups',
    summary: 'Backups, newest first',
    projection: backups,
    order: descending(whole('first_position')),
  },
  {
    name: 'child-jobs',
    summary: 'Child jobs, in the order of their plans',
    projection: childJobs,
    order: ascending(whole('first_position'), whole('ordinal')),
  },
  {
    name: 'recoveries',
    summary: 'Recoveries, newest first',
    projection: recoveries,
    order: descending(whole('first_position')),
  },
  {
    name: 'data-streams',
    summary: 'Data streams of recoveries, in the order of their plans',
    projection: dataStreams,
    order: ascending(whole('first_position'), whole('ordinal')),
  },
  { name: 'hosts', summary: 'Hosts', projection: hosts, order: ascending(text('host_id')) },
  {
    name: 'proxies',
    summary: 'Proxies with their ports and who holds them, newest first',
    projection: proxies,
    order: descending(whole('first_position'), text('proxy_id')),
  },
  {
    name: 'obligations',
    summary: 'What was taken from hosts and not given back yet, oldest first',
    projection: obligations,
    order: ascending(whole('first_position'), text('obligation_id')),
  },
  { name: 'schedules', summary: 'Schedules', projection: schedules, order: ascending(text('schedule_id')) },
  { name: 'policies', summary: 'Policies', projection: policies, order: ascending(text('policy_id')) },
  {
    name: 'host-policies',
    summary: 'What hosts may carry',
    projection: hostPolicies,
    order: ascending(text('host_id')),
  },
  {
    name: 'shadow-plans',
    summary: 'What other policies would have made of runs, newest first',
    projection: shadowPlans,
    order: descending(whole('position'), text('policy_id')),
  },
  {
    name: 'deployment-policy',
    summary: 'What all hosts may come to together',
    projection: deploymentPolicy,
    order: ascending(text('scope')),
  },
];

/** Columns behind the filters. */
const filterColumns: Record<string, string> = {
  state: 'state',
  kind: 'kind',
  host: 'host_id',
  vm: 'vm_id',
  backup: 'backup_id',
  recovery: 'recovery_id',
  run: 'run_id',
};

/** One value, or several with commas between them. */
export const severalOf = (value: z.ZodType<string>) =>
  z.string().transform((text, context): string[] => {
    const values = text.split(',').map((part) => part.trim());
    for (const part of values) {
      if (part !== '' && Text.safeParse(part).success && value.safeParse(part).success) continue;
      const known = value instanceof z.ZodEnum ? `, only ${value.options.join(', ')}` : '';
      context.addIssue({ code: 'custom', message: `cannot be "${part}"${known}` });
    }
    return values;
  });

export const listQuery = (filters: Record<string, z.ZodType<string>>): z.ZodObject =>
  z.strictObject({
    ...paging,
    ...Object.fromEntries(
      Object.entries(filters).map(([name, value]) => [
        name,
        severalOf(value).optional().describe('One value, or several with commas between them'),
      ]),
    ),
  });

export const listRoutes = (store: EventStore): Route[] =>
  sources.map((source) => {
    const { item, filters } = consoleApi.lists[source.name];
    return route({
      path: `/${source.name}`,
      summary: source.summary,
      query: listQuery(filters),
      answer: consoleApi.listOf(item as z.ZodType),
      handle: ({ query }) => withSnapshot(store, (snapshot) => listRows(snapshot, source, query)),
    });
  });

async function listRows(
  { db, generation, asOf }: Snapshot,
  { projection, order }: Source,
  query: Record<string, unknown>,
): Promise<{ asOf: number; items: Row[]; next: string | null }> {
  const { limit, after, ...filters } = query as { limit: number; after?: string };
  const conditions: RawBuilder<unknown>[] = after === undefined ? [] : [afterCursor(order, after)];
  for (const [name, values] of Object.entries(filters)) {
    if (values !== undefined) {
      conditions.push(sql`${sql.ref(filterColumns[name] ?? name)} = any(${values}::text[])`);
    }
  }
  const where = conditions.length === 0 ? sql`` : sql`where ${sql.join(conditions, sql` and `)}`;
  const { rows } = await sql<Row>`
    select * from ${tableRef(projection.table, generation)} ${where}
    order by ${orderBy(order)} limit ${limit + 1}`.execute(db);
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    asOf,
    items: page.map((row) => decode(projection, row)),
    next: rows.length > limit && last !== undefined ? cursorOf(order, last) : null,
  };
}
