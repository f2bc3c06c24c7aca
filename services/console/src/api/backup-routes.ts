/** One backup: its row, its whole story from the log, and why it went as it went. */
import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { readStory } from '../adapters/story.ts';
import { explain } from '../explain.ts';
import { backups } from '../projections/backups.ts';
import { notFound } from './problem.ts';
import { noQuery, type Route, route } from './route.ts';
import { eventsRoute, explaining, findRun, type KindOfRun } from './story-routes.ts';

const kind: KindOfRun<consoleApi.BackupView> = {
  noun: 'backup',
  list: 'backups',
  projection: backups,
  idColumn: 'backupId',
  runOf: (view) => ({ ...view, runId: view.backupId }),
};

export const backupRoutes = (store: EventStore): Route[] => [
  route({
    path: '/backups/:id',
    summary: 'One backup, by its id or a beginning of it that no other has',
    query: noQuery,
    answer: consoleApi.oneOf(consoleApi.BackupView),
    handle: ({ id }) => findRun(store, kind, id),
  }),
  eventsRoute(store, kind),
  route({
    path: '/backups/:id/explain',
    summary: 'Why this mode, this quantity and these proxies, and what went otherwise than planned',
    query: noQuery,
    answer: consoleApi.oneOf(consoleApi.Explanation),
    async handle({ id }) {
      const { item } = await findRun(store, kind, id);
      const { story, asOf } = await readStory(store, kind.runOf(item), explaining);
      const explanation = explain(item.backupId, story);
      if (explanation === undefined)
        throw notFound(`The log tells nothing of backup ${id}.`, 'Is it an old id?');
      return { asOf, item: explanation };
    },
  }),
];
