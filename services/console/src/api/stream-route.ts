/**
 * The live stream: events of the log as they are recorded, as server-sent events. `id` is the position, so a client that
 * comes back with Last-Event-ID misses nothing and sees nothing twice.
 */
import { once } from 'node:events';
import { consoleApi } from '@backhaul/contracts';
import { type EventStore, tail } from '@backhaul/event-store';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { badRequest, unavailable } from './problem.ts';
import { type Route, route } from './route.ts';

export interface StreamOptions {
  /** Aborts when the service stops. */
  readonly signal: AbortSignal;
  /** A stream that could not go on. The client comes back by itself. */
  readonly onFault?: (error: unknown) => void;
  readonly streamsMax?: number;
  readonly heartbeatMilliseconds?: number;
  readonly idleMilliseconds?: number;
}

export function streamRoute(store: EventStore, options: StreamOptions): Route {
  const { signal, streamsMax = 100, heartbeatMilliseconds = 15_000, idleMilliseconds = 150 } = options;
  let streams = 0;
  return route({
    path: '/stream',
    summary: 'Events as they are recorded (server-sent events), from now on or from after a position',
    query: z.strictObject({
      backup: z.uuid('must be the whole id of a backup').optional().describe('Events of this backup only'),
      recovery: z
        .uuid('must be the whole id of a recovery')
        .optional()
        .describe('Events of this recovery only'),
      after: z.coerce
        .number({ error: 'must be a position of the log' })
        .int('must be a position of the log')
        .nonnegative('must be a position of the log')
        .optional()
        .describe('Begin after this position; 0 for everything. Last-Event-ID wins over it.'),
    }),
    answer: consoleApi.RecordedEvent,
    mediaType: 'text/event-stream',
    async handle({ query, request, reply }) {
      if (query.backup !== undefined && query.recovery !== undefined) {
        throw badRequest(
          'BadParameter',
          'Query parameters backup and recovery name two runs.',
          'Give one of them.',
        );
      }
      if (streams >= streamsMax || signal.aborted) {
        throw unavailable(
          'TooManyStreams',
          `${streams} streams are open here.`,
          'Try again, or another instance.',
        );
      }
      const after = lastEventId(request.headers['last-event-id']) ?? query.after ?? (await end(store));
      streams += 1;
      reply.hijack();
      const gone = new AbortController();
      request.raw.once('close', () => gone.abort());
      await send(store, reply, {
        after,
        runId: query.backup ?? query.recovery,
        signal: AbortSignal.any([signal, gone.signal]),
        heartbeatMilliseconds,
        idleMilliseconds,
      })
        .catch((error: unknown) => options.onFault?.(error))
        .finally(() => {
          streams -= 1;
          reply.raw.end();
        });
      return undefined;
    },
  });
}

const end = async (store: EventStore): Promise<number> =>
  (await store.readLog(Number.MAX_SAFE_INTEGER, { limit: 1 })).highWater;

function lastEventId(header: string | string[] | undefined): number | undefined {
  if (header === undefined || header === '') return undefined;
  const position = Number(header);
  if (Number.isSafeInteger(position) && position >= 0) return position;
  throw badRequest(
    'BadLastEventId',
    `Last-Event-ID ${String(header)} is no position.`,
    'Send back the last id received.',
  );
}

async function send(
  store: EventStore,
  { raw }: FastifyReply,
  options: {
    after: number;
    runId: string | undefined;
    signal: AbortSignal;
    heartbeatMilliseconds: number;
    idleMilliseconds: number;
  },
): Promise<void> {
  const { after, runId, signal, heartbeatMilliseconds, idleMilliseconds } = options;
  raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  // The position goes out at once: who is cut off before the first event comes back to the same place.
  raw.write(`retry: 1000\nid: ${after}\n\n`);
  const heartbeat = setInterval(() => {
    // A client that does not read is not sent more.
    if (!raw.writableNeedDrain) raw.write(': still here\n\n');
  }, heartbeatMilliseconds);
  try {
    const filter = runId === undefined ? {} : { correlation: runId };
    for await (const page of tail(store, { after, filter, signal, limit: 500, idleMilliseconds })) {
      for (const event of page.events) {
        const text = `id: ${event.position}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
        if (!raw.write(text)) await once(raw, 'drain', { signal });
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    clearInterval(heartbeat);
  }
}
