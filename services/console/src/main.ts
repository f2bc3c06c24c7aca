/** The console: builds the projections from the log, and answers for them over HTTP. It decides nothing. */
import { describeError } from '@backhaul/kernel';
import { runService } from '@backhaul/service';
import { z } from 'zod';
import { prepareGenerations } from './adapters/generations.ts';
import { projectionMetrics } from './adapters/projection-metrics.ts';
import { runProjector } from './adapters/projector.ts';
import { apiRoutes, serveApi } from './api/api.ts';

await runService({
  name: 'console',
  configuration: z.object({}),
  async start({ store, http, metrics, log, singleton, onStop }) {
    await prepareGenerations(store.kysely);

    const measured = projectionMetrics(metrics, store);
    singleton('projections', (signal) =>
      runProjector({
        store,
        signal,
        onPage: measured.onPage,
        onSwap: (generation) => log.info({ generation }, 'rebuilt projections are in use'),
        onFault: (error) => log.warn({ error: describeError(error) }, 'projecting failed, trying again'),
      }),
    );

    const stopping = new AbortController();
    onStop('live streams', async () => stopping.abort());
    const routes = apiRoutes(store, {
      signal: stopping.signal,
      onFault: (error) => log.warn({ error: describeError(error) }, 'a live stream ended'),
    });
    await serveApi(http, routes);
  },
});
