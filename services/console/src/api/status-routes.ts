/** How far the projections are behind the log, and their rebuild from position zero. */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { readGenerations, startRebuild } from '../adapters/generations.ts';
import { unavailable } from './problem.ts';
import { noQuery, type Route, route } from './route.ts';

export const statusRoutes = (store: EventStore): Route[] => [
  route({
    path: '/status',
    summary: 'How far the projections are behind the log',
    query: noQuery,
    answer: consoleApi.ConsoleStatus,
    handle: () => statusOf(store),
  }),
  route({
    method: 'POST',
    path: '/projections/rebuild',
    summary: 'Builds the projections again from position zero, beside the ones in use, and swaps them in',
    query: noQuery,
    status: 202,
    answer: consoleApi.RebuildStarted,
    handle: () => startRebuild(store.kysely, 'asked for over HTTP'),
  }),
];

export async function statusOf(store: EventStore): Promise<consoleApi.ConsoleStatus> {
  const { live, building } = await readGenerations(store.kysely);
  if (live === undefined)
    throw unavailable('NoProjections', 'There are no projections yet.', 'Try again shortly.');
  const { events, highWater } = await store.readLog(live.position, { limit: 1 });
  const [oldest] = events;
  return {
    logHighWater: highWater,
    checkpoint: live.position,
    behindEvents: Math.max(0, highWater - live.position),
    behindMilliseconds: oldest === undefined ? 0 : Math.max(0, Date.now() - Date.parse(oldest.recordedAt)),
    generation: live.generation,
    problem: live.problem,
    rebuild:
      building === undefined
        ? null
        : {
            generation: building.generation,
            checkpoint: building.position,
            startedAt: building.startedAt,
            reason: building.reason,
          },
  };
}
