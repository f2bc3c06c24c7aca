/**
 * The console's live stream as an async iterable. A lost connection is made again, from the last event received on: no
 * event is missed and none comes twice. Only when the console stays away does the iteration end, with a Fault.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { consoleApi } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { eventStreamParser } from './event-stream.ts';
import { ProblemFault, reach, type Service } from './http.ts';

export interface FollowOptions {
  /** Events of this backup only. */
  readonly backupId?: string;
  /** Events of this recovery only. */
  readonly recoveryId?: string;
  /** Begin after this position of the log; 0 for the whole story. Without it: from now on. */
  readonly after?: number;
  readonly signal?: AbortSignal;
  /** How long the console may be away. Default one minute. */
  readonly awayMilliseconds?: number;
}

/** The console sends a sign of life every 15 s. */
const SILENCE_MILLISECONDS_MAX = 45_000;
const RETRY_MILLISECONDS = 1_000;

export async function* follow(
  console: Service,
  options: FollowOptions,
): AsyncGenerator<consoleApi.RecordedEvent> {
  const { signal, awayMilliseconds = 60_000 } = options;
  let lastId = options.after === undefined ? undefined : String(options.after);
  let retryMilliseconds = RETRY_MILLISECONDS;
  let seenAt = Date.now();
  const isOver = (): boolean => signal?.aborted === true;
  while (!isOver()) {
    // What was fed and not dispatched is asked for again: the id of a half message must not count.
    const parser = eventStreamParser();
    try {
      for await (const text of connection(console, options, lastId)) {
        seenAt = Date.now();
        for (const message of parser.feed(text)) {
          yield consoleApi.RecordedEvent.parse(JSON.parse(message.data));
          lastId = message.id;
        }
        lastId ??= parser.lastId;
        retryMilliseconds = parser.retryMilliseconds ?? retryMilliseconds;
      }
    } catch (error) {
      if (isOver()) return;
      if (error instanceof ProblemFault && error.permanent) throw error;
      if (!(error instanceof Fault) || Date.now() - seenAt > awayMilliseconds) throw error;
    }
    await sleep(retryMilliseconds, undefined, { signal }).catch(() => undefined);
  }
}

async function* connection(
  console: Service,
  { backupId, recoveryId, signal }: FollowOptions,
  lastId: string | undefined,
): AsyncGenerator<string> {
  const quiet = new AbortController();
  const silence = setTimeout(
    () => quiet.abort(new Fault(`The console at ${console.url} was silent for too long`)),
    SILENCE_MILLISECONDS_MAX,
  );
  const ends = signal === undefined ? quiet.signal : AbortSignal.any([signal, quiet.signal]);
  try {
    const response = await reach(console, {
      path: '/api/v1/stream',
      query: { backup: backupId, recovery: recoveryId },
      headers: lastId === undefined ? {} : { 'last-event-id': lastId },
      signal: ends,
    });
    const decoder = new TextDecoder();
    for await (const bytes of response.body ?? []) {
      silence.refresh();
      yield decoder.decode(bytes, { stream: true });
    }
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw new Fault(`The live stream of the console at ${console.url} broke off`, { cause });
  } finally {
    clearTimeout(silence);
    quiet.abort();
  }
}
