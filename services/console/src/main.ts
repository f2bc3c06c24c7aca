/** The console: builds the projections from the log, answers for them over HTTP, and seals the log. It decides nothing. */
import { describeError } from '@backhaul/kernel';
import { runService, whole } from '@backhaul/service';
import { z } from 'zod';
import { prepareGenerations } from './adapters/generations.ts';
import { projectionMetrics } from './adapters/projection-metrics.ts';
import { runProjector } from './adapters/projector.ts';
import { runSealer } from './adapters/sealer.ts';
import { apiRoutes, serveApi } from './api/api.ts';

await runService({
  name: 'console',
  isAsked: true,
  configuration: z.object({
    /** The key that seals are signed with; made where there is none. Without it the log is not sealed. */
    BACKHAUL_SEAL_KEY_FILE: z
      .string()
      .startsWith('/', 'must be an absolute path')
      .optional()
      .meta({ examples: ['/var/lib/backhaul/seal-key.pem'] }),
    BACKHAUL_SEAL_SECONDS: whole(1, 86_400, 60).default(60),
  }),
  async start({ configuration, store, http, metrics, log, singleton, onStop }) {
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

    const keyFile = configuration.BACKHAUL_SEAL_KEY_FILE;
    if (keyFile === undefined) log.warn('the log is not sealed: BACKHAUL_SEAL_KEY_FILE is not set');
    else {
      singleton('seals', (signal) =>
        runSealer({
          store,
          keyFile,
          milliseconds: configuration.BACKHAUL_SEAL_SECONDS * 1000,
          signal,
          // Kept by whoever keeps the logs, this line tells later that the chain was not cut off or made anew.
          onSealed: ({ seal, hash, through, events, key }) =>
            log.info({ seal, hash, through, events, key }, 'sealed'),
          onFault: (error) => log.error({ error: describeError(error) }, 'sealing failed, trying again'),
        }),
      );
    }

    const stopping = new AbortController();
    onStop('live streams', async () => stopping.abort());
    const routes = apiRoutes(store, {
      signal: stopping.signal,
      onFault: (error) => log.warn({ error: describeError(error) }, 'a live stream ended'),
    });
    await serveApi(http, routes);
  },
});
