/**
 * Work that one process at a time may do: whoever holds a session lock of Postgres, on a connection of its own, so that
 * the lock dies with the process. A lost connection aborts the work, and the lock is tried for again.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describeError, Fault, withDeadline } from '@backhaul/kernel';
import pg from 'pg';
import type { Log } from './log.ts';

export interface Exclusive {
  /** True while this process holds the lock. */
  inCharge(): boolean;
  /** Aborts the work, waits for it (at most `milliseconds`) and gives the lock back. */
  stop(milliseconds?: number): Promise<void>;
}

/** How long another process may go on with nobody in charge after the one that was has died. */
const RETRY_MILLISECONDS = 500;
const HEARTBEAT_MILLISECONDS = 3_000;

/**
 * `run` gets the connection that holds the lock: what it writes there is written by the one in charge, or not at all. When it
 * rejects, the lock is given back and tried for again; when it resolves, this process is done with it.
 */
export function runExclusively(options: {
  postgresUrl: string;
  /** Processes that use the same name exclude each other. */
  name: string;
  log: Log;
  run(signal: AbortSignal, lock: pg.Client): Promise<void>;
}): Exclusive {
  const { name, log } = options;
  const stopping = new AbortController();
  let held = false;

  const attempt = async (): Promise<'done' | 'again'> => {
    const lock = new pg.Client({
      connectionString: options.postgresUrl,
      application_name: `backhaul lock ${name}`,
      connectionTimeoutMillis: 5_000,
      query_timeout: 10_000,
      keepAlive: true,
    });
    const lost = new AbortController();
    lock.on('error', (error) => lost.abort(error));
    lock.on('end', () => lost.abort(new Fault(`The connection that holds the lock ${name} ended`)));
    const signal = AbortSignal.any([stopping.signal, lost.signal]);
    let heartbeat: NodeJS.Timeout | undefined;
    try {
      await lock.connect();
      // A machine that vanished without a word must not hold the lock for hours.
      await lock.query(
        'set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3',
      );
      while (!(await tryLock(lock, name))) {
        await pause(RETRY_MILLISECONDS, undefined, { signal });
      }
      held = true;
      heartbeat = setInterval(() => {
        lock.query('select 1').catch((error: unknown) => lost.abort(error));
      }, HEARTBEAT_MILLISECONDS);
      log.debug({ lock: name }, 'in charge');
      await options.run(signal, lock);
      return signal.aborted && !stopping.signal.aborted ? 'again' : 'done';
    } finally {
      held = false;
      clearInterval(heartbeat);
      await withDeadline('Closing a connection to Postgres', 2_000, () => lock.end()).catch(() => undefined);
    }
  };

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        if ((await attempt()) === 'done') return;
      } catch (error) {
        if (stopping.signal.aborted) return;
        log.warn({ lock: name, error: describeError(error) }, 'exclusive work was interrupted, trying again');
      }
      await pause(RETRY_MILLISECONDS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };

  const running = loop();
  return {
    inCharge: () => held,
    async stop(milliseconds = 10_000) {
      stopping.abort(new Fault(`${name} is stopping`));
      await withDeadline(`Stopping ${name}`, milliseconds, () => running);
    },
  };
}

async function tryLock(lock: pg.Client, name: string): Promise<boolean> {
  const { rows } = await lock.query<{ locked: boolean }>(
    'select pg_try_advisory_lock(hashtextextended($1, 0)) as locked',
    [`backhaul ${name}`],
  );
  return rows[0]?.locked === true;
}
