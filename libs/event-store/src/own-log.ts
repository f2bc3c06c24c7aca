/**
 * The part of the log that a login may append: its relay tells the others of it. The table `owners` says which categories that is, and the
 * log itself which types they have: a newer release of the same service may have brought either, and this one is to pass over neither.
 */
import { catalogue, owners, type Service } from '@backhaul/contracts';
import type { Pool, PoolClient } from 'pg';
import { BUT_CHUNKS, CHUNKS, rowsOf, WIDE } from './reading.ts';
import { COLUMNS, type StoredEvent } from './stored-event.ts';

const OWNED = 'array(select o.category collate "C" from public.owners o where o.role = session_user)';

const OWN = {
  name: 'read_own_log',
  text: `select ${COLUMNS} from public.events where position > $1 and position <= $2 and category = any(${OWNED})
         order by position limit $3`,
  rowMode: 'array',
} as const;

/** The types that there are, one probe of their index each, and of those that are its own what is asked for. */
const OWN_BY_TYPE = {
  name: 'read_own_log_by_type',
  text: `with recursive found as (
           (select type, category from public.events where ${BUT_CHUNKS} order by type limit 1)
           union all
           select next.type, next.category from found cross join lateral (
             select type, category from public.events e where e.type > found.type and e.${BUT_CHUNKS} order by type limit 1) next)
         select ${COLUMNS} from (select type as wanted from found where category = any(${OWNED})) own
         cross join lateral (select * from public.events e where e.type = own.wanted
           and e.position > $1 and e.position <= $2 and e.${BUT_CHUNKS} order by e.position limit $3) e
         order by position limit $3`,
  rowMode: 'array',
} as const;

/** Log rows in (after, upTo]. Who owns chunks owns nearly all of the log, and reads it as it lies, as one does who is not known. */
export async function readOwnRows(
  connection: Pool | PoolClient,
  { after, upTo, limit }: { after: number; upTo: number; limit: number },
  service: Service | undefined,
): Promise<StoredEvent[]> {
  const ownsChunks = CHUNKS.some((type) => owners[catalogue[type].category] === service);
  const query = service === undefined || ownsChunks || upTo - after <= WIDE ? OWN : OWN_BY_TYPE;
  return rowsOf(await connection.query<StoredEvent>({ ...query, values: [after, upTo, limit] }));
}
