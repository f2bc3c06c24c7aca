/** What a newer release of the same service stores: only its contracts differ, so here it speaks to Postgres itself. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';

export interface NewerEvent {
  readonly stream: string;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: object;
}

/** `url`: the login of the service. Answers the position. */
export async function appendAsNewerRelease(url: string, event: NewerEvent): Promise<number> {
  const { stream, type, schemaVersion, data } = event;
  const newer = new pg.Client({ connectionString: url });
  await newer.connect();
  try {
    const id = randomUUID();
    const { rows } = await newer.query<{ position: string }>(
      `select positions[1] as position from public.append_events(
         array[$1::uuid], array['c'], array[null], array['newer'], array[1], array[$2], array[-2], array[1],
         array[$1::uuid], array[1], array[1], array[$3], array[$4::int], array['c'], $5)`,
      [id, stream, type, schemaVersion, JSON.stringify([data])],
    );
    return Number(rows[0]?.position);
  } finally {
    await newer.end();
  }
}
