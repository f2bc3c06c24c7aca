/**
 * Backhaul over HTTP, typed: requests go to the trigger, questions to the console. The shapes are those of
 * `@backhaul/contracts`; answers are checked against them.
 */
import {
  Answer,
  type BackupRequested,
  consoleApi,
  type PolicyRequested,
  type RedriveRequested,
  type ScheduleRequested,
} from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { z } from 'zod';
import { type FollowOptions, follow } from './follow.ts';
import { type Exchange, exchange, ProblemFault } from './http.ts';

type Without<T, K extends keyof T> = Omit<T, K>;
export type NewBackup = z.input<typeof BackupRequested>;
export type NewSchedule = Without<z.input<typeof ScheduleRequested>, 'requestId'>;
export type NewRedrive = z.input<typeof RedriveRequested>;
export type NewPolicy = z.input<typeof PolicyRequested>['policy'] & { readonly policyId: string };

/** What a list is asked for. Filters take one value, or several with commas between them. */
export type ListQuery<L extends consoleApi.ListName> = {
  readonly [F in consoleApi.ListFilter<L>]?: string | undefined;
} & { readonly limit?: number | undefined; readonly after?: string | undefined };

export interface Page<Item> {
  readonly asOf: number;
  readonly items: readonly Item[];
  readonly next: string | null;
}

export interface BackhaulClient {
  /** The same `requestId` again is the same backup. Refused: the Result says why, and the way out. */
  requestBackup(request: NewBackup): Promise<Result<Answer>>;
  cancelBackup(backupId: string, reason?: string): Promise<Result<Answer>>;
  defineSchedule(schedule: NewSchedule): Promise<Result<Answer>>;
  removeSchedule(scheduleId: string): Promise<Result<Answer>>;
  definePolicy(policy: NewPolicy): Promise<Result<Answer>>;
  /** Has the service that gave a message up try it again. The same `requestId` again is the same redrive. */
  redriveDeadLetter(redrive: NewRedrive): Promise<Result<Answer>>;

  page<L extends consoleApi.ListName>(list: L, query?: ListQuery<L>): Promise<Page<consoleApi.ListItem<L>>>;
  /** Every item of a list, page by page. */
  all<L extends consoleApi.ListName>(list: L, query?: ListQuery<L>): AsyncIterable<consoleApi.ListItem<L>>;
  /** By its id, or a beginning of it that no other backup has. */
  backup(id: string): Promise<consoleApi.BackupView>;
  explain(id: string): Promise<consoleApi.Explanation>;
  /** The whole story of a backup, in order. */
  story(id: string, query?: { readonly type?: string }): AsyncIterable<consoleApi.RecordedEvent>;
  /** Events as they are recorded. */
  follow(options?: FollowOptions): AsyncGenerator<consoleApi.RecordedEvent>;
  status(): Promise<consoleApi.ConsoleStatus>;
  rebuildProjections(): Promise<consoleApi.RebuildStarted>;
}

const PAGE_ITEMS = 200;
const STORY_EVENTS = 500;

export function backhaulClient(urls: { consoleUrl: string; triggerUrl: string }): BackhaulClient {
  const console = { name: 'console', url: urls.consoleUrl };
  const trigger = { name: 'trigger', url: urls.triggerUrl };

  const request = async (asked: Exchange): Promise<Result<Answer>> => {
    try {
      return ok(await exchange(trigger, asked, Answer));
    } catch (error) {
      if (error instanceof ProblemFault && error.permanent) return refuse(refusalOf(error.problem));
      throw error;
    }
  };

  const page = async <L extends consoleApi.ListName>(
    list: L,
    query: ListQuery<L> = {} as ListQuery<L>,
  ): Promise<Page<consoleApi.ListItem<L>>> => {
    const answer = consoleApi.listOf(consoleApi.lists[list].item as z.ZodType);
    const found = await exchange(console, { path: `/api/v1/${list}`, query }, answer);
    return found as Page<consoleApi.ListItem<L>>;
  };

  return {
    requestBackup: (body) =>
      request({
        method: 'POST',
        path: '/api/v1/backups',
        body,
        headers: { 'idempotency-key': body.requestId },
      }),
    cancelBackup: (id, reason) =>
      request({
        method: 'DELETE',
        path: `/api/v1/backups/${encodeURIComponent(id)}`,
        body: reason === undefined ? {} : { reason },
      }),
    defineSchedule: ({ scheduleId, ...body }) =>
      request({ method: 'PUT', path: `/api/v1/schedules/${encodeURIComponent(scheduleId)}`, body }),
    removeSchedule: (id) =>
      request({ method: 'DELETE', path: `/api/v1/schedules/${encodeURIComponent(id)}` }),
    definePolicy: ({ policyId, ...body }) =>
      request({ method: 'PUT', path: `/api/v1/policies/${encodeURIComponent(policyId)}`, body }),
    redriveDeadLetter: ({ requestId, letter, ...body }) =>
      request({
        method: 'POST',
        path: `/api/v1/dead-letters/${encodeURIComponent(letter)}/redrive`,
        body,
        headers: { 'idempotency-key': requestId },
      }),

    page,
    all: (list, query) =>
      eachOf((after) => page(list, { limit: PAGE_ITEMS, ...query, after } as ListQuery<typeof list>)),
    backup: async (id) =>
      (await exchange(console, { path: pathOf(id) }, consoleApi.oneOf(consoleApi.BackupView))).item,
    explain: async (id) =>
      (await exchange(console, { path: `${pathOf(id)}/explain` }, consoleApi.oneOf(consoleApi.Explanation)))
        .item,
    story: (id, query) =>
      eachOf((after) =>
        exchange(
          console,
          { path: `${pathOf(id)}/events`, query: { limit: STORY_EVENTS, ...query, after } },
          consoleApi.listOf(consoleApi.RecordedEvent),
        ),
      ),
    follow: (options = {}) => follow(console, options),
    status: () => exchange(console, { path: '/api/v1/status' }, consoleApi.ConsoleStatus),
    rebuildProjections: () =>
      exchange(console, { method: 'POST', path: '/api/v1/projections/rebuild' }, consoleApi.RebuildStarted),
  };
}

const pathOf = (backupId: string): string => `/api/v1/backups/${encodeURIComponent(backupId)}`;

async function* eachOf<Item>(
  pageAfter: (after: string | undefined) => Promise<Page<Item>>,
): AsyncGenerator<Item> {
  for (let after: string | undefined; ; ) {
    const { items, next } = await pageAfter(after);
    yield* items;
    if (next === null) return;
    after = next;
  }
}

const refusalOf = ({ code, detail, wayOut }: consoleApi.Problem): Refusal => ({
  code,
  message: detail,
  ...(wayOut === undefined ? {} : { wayOut }),
});
