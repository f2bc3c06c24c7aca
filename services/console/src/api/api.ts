/** The console's HTTP API under /api/v1. It reads; the one thing it starts is a rebuild of its own tables. */
import type { EventStore } from '@backhaul/event-store';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { backupRoutes } from './backup-routes.ts';
import { deadLetterRoutes } from './dead-letter-routes.ts';
import { listRoutes } from './lists.ts';
import { openApi } from './openapi.ts';
import { problemOf, sendProblem } from './problem.ts';
import { queueRoutes } from './queue-route.ts';
import { recoveryRoutes } from './recovery-routes.ts';
import { noQuery, type Route, register, route, unknownPath } from './route.ts';
import { statusRoutes } from './status-routes.ts';
import { type StreamOptions, streamRoute } from './stream-route.ts';

export function apiRoutes(store: EventStore, options: StreamOptions): Route[] {
  const routes = [
    ...listRoutes(store),
    ...backupRoutes(store),
    ...recoveryRoutes(store),
    ...deadLetterRoutes(store),
    ...queueRoutes(store),
    ...statusRoutes(store),
    streamRoute(store, options),
  ];
  const document = openApi(routes);
  const documentRoute = route({
    path: '/openapi.json',
    summary: 'This API',
    query: noQuery,
    answer: z.record(z.string(), z.unknown()),
    handle: async () => document as Record<string, unknown>,
  });
  return [...routes, documentRoute];
}

export async function serveApi(http: FastifyInstance, routes: readonly Route[]): Promise<void> {
  await http.register(
    async (api) => {
      api.setErrorHandler((error, _, reply) => sendProblem(reply, problemOf(error)));
      api.setNotFoundHandler((request, reply) => sendProblem(reply, unknownPath(request)));
      register(api, routes);
    },
    { prefix: '/api/v1' },
  );
}
