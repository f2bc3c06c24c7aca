/** One backup: its row, its whole story from the log, and why it went as it went. */
import { catalogue, consoleApi, type EventType } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { z } from 'zod';
import { withSnapshot } from '../adapters/snapshot.ts';
import { readStory, readStoryPage } from '../adapters/story.ts';
import { explain } from '../explain.ts';
import { findBackups, severalOf } from './lists.ts';
import { paging } from './paging.ts';
import { ApiProblem, badRequest, notFound } from './problem.ts';
import { noQuery, type Route, route } from './route.ts';

const eventTypes = Object.keys(catalogue) as EventType[];
/** Millions in a large backup, and none says why. */
const explaining = eventTypes.filter((type) => type !== 'ChunkReceived');

export function backupRoutes(store: EventStore): Route[] {
  const one = async (id: string): Promise<{ asOf: number; item: consoleApi.BackupView }> => {
    if (!/^[0-9a-f-]{1,36}$/i.test(id)) {
      throw badRequest(
        'BadBackupId',
        `${id.slice(0, 80)} is no backup id.`,
        'Give a UUID, or the beginning of one.',
      );
    }
    return await withSnapshot(store, async (snapshot) => {
      const [item, ...others] = await findBackups(snapshot, id.toLowerCase());
      if (item === undefined) {
        throw notFound(
          `There is no backup ${id} (as of position ${snapshot.asOf} of the log).`,
          'GET /api/v1/backups lists those there are.',
        );
      }
      if (others.length > 0) throw ambiguous(id, [item, ...others]);
      return { asOf: snapshot.asOf, item };
    });
  };

  return [
    route({
      path: '/backups/:id',
      summary: 'One backup, by its id or a beginning of it that no other has',
      query: noQuery,
      answer: consoleApi.oneOf(consoleApi.BackupView),
      handle: ({ id }) => one(id),
    }),
    route({
      path: '/backups/:id/events',
      summary: 'The whole story of a backup in order, from the log',
      query: z.strictObject({
        limit: paging.limit,
        after: z.coerce
          .number({ error: 'must be a position of the log' })
          .int('must be a position of the log')
          .nonnegative('must be a position of the log')
          .default(0)
          .describe('The `next` of the page before, or the position of an event'),
        type: severalOf(z.enum(eventTypes)).optional().describe('Types of events, with commas between them'),
      }),
      answer: consoleApi.listOf(consoleApi.RecordedEvent),
      async handle({ id, query }) {
        const { item } = await one(id);
        const { limit, after, type } = query;
        const page = await readStoryPage(store, item, {
          after,
          limit,
          ...(type === undefined ? {} : { types: type as EventType[] }),
        });
        return {
          asOf: page.asOf,
          items: page.events as unknown as consoleApi.RecordedEvent[],
          next: page.next === undefined ? null : String(page.next),
        };
      },
    }),
    route({
      path: '/backups/:id/explain',
      summary: 'Why this mode, this quantity and these proxies, and what went otherwise than planned',
      query: noQuery,
      answer: consoleApi.oneOf(consoleApi.Explanation),
      async handle({ id }) {
        const { item } = await one(id);
        const { story, asOf } = await readStory(store, item, explaining);
        const explanation = explain(item.backupId, story);
        if (explanation === undefined)
          throw notFound(`The log tells nothing of backup ${id}.`, 'Is it an old id?');
        return { asOf, item: explanation };
      },
    }),
  ];
}

const ambiguous = (id: string, found: readonly consoleApi.BackupView[]): ApiProblem =>
  new ApiProblem({
    status: 409,
    code: 'AmbiguousBackupId',
    title: 'More than one backup is meant',
    detail: `${id} is the beginning of several backups: ${found.map((backup) => backup.backupId).join(', ')}${found.length === 5 ? ' ...' : ''}.`,
    wayOut: 'Give more of the id.',
  });
