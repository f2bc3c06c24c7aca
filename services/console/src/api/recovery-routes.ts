/** One recovery: its row, its whole story from the log, and why it went as it went. */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { readStory } from '../adapters/story.ts';
import { explainRecovery } from '../explain-recovery.ts';
import { recoveries } from '../projections/recoveries.ts';
import { notFound } from './problem.ts';
import { noQuery, type Route, route } from './route.ts';
import { eventsRoute, explaining, findRun, type KindOfRun } from './story-routes.ts';

const kind: KindOfRun<consoleApi.RecoveryView> = {
  noun: 'recovery',
  list: 'recoveries',
  projection: recoveries,
  idColumn: 'recoveryId',
  runOf: (view) => ({ ...view, runId: view.recoveryId }),
};

export const recoveryRoutes = (store: EventStore): Route[] => [
  route({
    path: '/recoveries/:id',
    summary: 'One recovery, by its id or a beginning of it that no other has',
    query: noQuery,
    answer: consoleApi.oneOf(consoleApi.RecoveryView),
    handle: ({ id }) => findRun(store, kind, id),
  }),
  eventsRoute(store, kind),
  route({
    path: '/recoveries/:id/explain',
    summary: 'Why this mode, this second quantity and these proxies, and how it ended',
    query: noQuery,
    answer: consoleApi.oneOf(consoleApi.RecoveryExplanation),
    async handle({ id }) {
      const { item } = await findRun(store, kind, id);
      const { story, asOf } = await readStory(store, kind.runOf(item), explaining);
      const explanation = explainRecovery(item.recoveryId, story);
      if (explanation === undefined)
        throw notFound(`The log tells nothing of recovery ${id}.`, 'Is it an old id?');
      return { asOf, item: explanation };
    },
  }),
];
