/**
 * Pools as they were, beside the log: a host's stream is never cut, and folding years of it is no way to start. Nothing is decided by what
 * is kept: an append still proves that the pool it was decided on was the newest. The proxy-manager keeps them; whoever looks at pools may go on
 * from them, which a database role of its own allows. What is of another release or of another log, or cannot be
 * read, is passed over, and all events are folded.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { EventStore } from '@backhaul/event-store';
import { describeError } from '@backhaul/kernel';
import { hostStream, type Pool, poolFrom, stateOf } from '@backhaul/pool';
import { sql } from 'kysely';
import type { Logger } from 'pino';

export interface KeptPool {
  readonly pool: Pool;
  readonly version: number;
}

export interface KeptPools {
  /** The newest that this release can go on from. */
  newest(hostId: string): Promise<KeptPool | undefined>;
  /** `eventId`: of the event of that version, which is committed. Never rejects: what is not kept now is kept later. */
  keep(kept: KeptPool, eventId: string): Promise<void>;
}

export function keptPools(parts: { store: EventStore; log?: Pick<Logger, 'warn' | 'debug'> }): KeptPools {
  const { store, log } = parts;
  let code: Promise<string> | undefined;
  const thisRelease = (): Promise<string> => {
    code ??= codeThatFolds();
    return code;
  };

  return {
    async newest(hostId) {
      try {
        const { rows } = await sql<{ version: number; event_id: string; state: Buffer }>`
          select version, event_id, state from public.kept_pools
          where host_id = ${hostId} and code = ${await thisRelease()}`.execute(store.kysely);
        const [row] = rows;
        if (row === undefined) return undefined;
        const { events } = await store.readStreamPage(hostStream(hostId), row.version - 1, 1);
        if (events[0]?.eventId !== row.event_id) return undefined;
        return { pool: poolFrom(row.state), version: row.version };
      } catch (error) {
        log?.warn({ host: hostId, error: describeError(error) }, 'a kept pool cannot be used');
        return undefined;
      }
    },

    async keep({ pool, version }, eventId) {
      // At once: the pool goes on to change.
      const state = stateOf(pool);
      try {
        const code = await thisRelease();
        await sql`
          insert into public.kept_pools as k (host_id, version, event_id, code, state)
          values (${pool.hostId}, ${version}, ${eventId}, ${code}, ${state})
          on conflict (host_id) do update
            set version = excluded.version, event_id = excluded.event_id, code = excluded.code,
                state = excluded.state, kept_at = now()
            where k.version < excluded.version or k.code <> excluded.code`.execute(store.kysely);
        log?.debug({ host: pool.hostId, version, bytes: state.length }, 'pool kept');
      } catch (error) {
        log?.warn({ host: pool.hostId, error: describeError(error) }, 'a pool could not be kept');
      }
    },
  };
}

/** Packages whose sources say what events become: a change in any of them makes what was kept before unusable. */
const FOLDING = ['@backhaul/pool', '@backhaul/contracts', '@backhaul/kernel'];

/** A digest of those sources. They are run as they lie there, so nobody has to remember to count a number up. */
async function codeThatFolds(): Promise<string> {
  const digest = createHash('sha256').update(process.version);
  for (const name of FOLDING) {
    const folder = new URL('.', import.meta.resolve(name));
    const files = (await readdir(folder)).filter((file) => /^[^.]+\.ts$/.test(file)).sort();
    for (const file of files)
      digest.update(`${name}/${file}\0`).update(await readFile(new URL(file, folder)));
  }
  return digest.digest('hex');
}
