/**
 * Backhaul over HTTP, typed: requests go to the trigger, questions to the console. The shapes are those of
 * `@backhaul/contracts`; answers are checked against them.
 */
import { randomUUID } from 'node:crypto';
import {
  Answer,
  type BackupRequested,
  consoleApi,
  type DeploymentPolicyChanges,
  type HostPolicyChanges,
  type PolicyChanges,
  type PolicyRequested,
  type Purpose,
  type RecoveryRequested,
  type RedriveRequested,
  type ScheduleRequested,
} from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { z } from 'zod';
import { caughtUp } from './caught-up.ts';
import { findRun, type Run } from './find-run.ts';
import { type FollowOptions, follow } from './follow.ts';
import { type Exchange, exchange, ProblemFault } from './http.ts';
import { knownOf, untilAnswered } from './until-answered.ts';

type Without<T, K extends keyof T> = Omit<T, K>;
export type NewBackup = z.input<typeof BackupRequested>;
export type NewRecovery = z.input<typeof RecoveryRequested>;
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
  /** The same `requestId` again is the same recovery. */
  requestRecovery(request: NewRecovery): Promise<Result<Answer>>;
  cancelRecovery(recoveryId: string, reason?: string): Promise<Result<Answer>>;
  /** Cancels, pauses or resumes a backup or a recovery, at whatever stage it is. The same `requestId` again is the same order. */
  order(
    order: 'cancel' | 'pause' | 'resume',
    purpose: Purpose,
    id: string,
    given?: { readonly requestId?: string; readonly reason?: string; readonly requestedBy?: string },
  ): Promise<Result<Answer>>;
  defineSchedule(schedule: NewSchedule): Promise<Result<Answer>>;
  removeSchedule(scheduleId: string): Promise<Result<Answer>>;
  definePolicy(policy: NewPolicy): Promise<Result<Answer>>;
  /** What is not named keeps its value, or that of the default policy where there is none of that name. */
  changePolicy(policyId: string, changes: PolicyChanges): Promise<Result<Answer>>;
  /** What is not named keeps its value, and `null` takes a limit away. */
  changeHostPolicy(hostId: string, changes: HostPolicyChanges): Promise<Result<Answer>>;
  changeDeploymentPolicy(changes: DeploymentPolicyChanges): Promise<Result<Answer>>;
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
  /** By its id, or a beginning of it that no other recovery has. */
  recovery(id: string): Promise<consoleApi.RecoveryView>;
  explainRecovery(id: string): Promise<consoleApi.RecoveryExplanation>;
  /** The whole story of a recovery, in order. */
  recoveryStory(id: string, query?: { readonly type?: string }): AsyncIterable<consoleApi.RecordedEvent>;
  /** A backup or a recovery, by its id or a beginning of it that no other of both has. */
  run(id: string): Promise<Run>;
  /** Events as they are recorded. */
  follow(options?: FollowOptions): AsyncGenerator<consoleApi.RecordedEvent>;
  /** Runs that wait, of one host or of all, in the order in which they would start. */
  queue(hostId?: string): Promise<readonly consoleApi.QueueView[]>;
  status(): Promise<consoleApi.ConsoleStatus>;
  rebuildProjections(): Promise<consoleApi.RebuildStarted>;
}

const PAGE_ITEMS = 200;
const STORY_EVENTS = 500;

/** Where both services answer, and the token that they ask for, where they do. */
export interface Deployment {
  readonly consoleUrl: string;
  readonly triggerUrl: string;
  readonly apiToken?: string | undefined;
  /** How long a request that gets no answer is sent again, under the same id. Default 15 s. */
  readonly patienceMilliseconds?: number;
  /** Ends that wait. */
  readonly signal?: AbortSignal;
}

export function backhaulClient(deployment: Deployment): BackhaulClient {
  const { consoleUrl, triggerUrl, apiToken: token, patienceMilliseconds = 15_000, signal } = deployment;
  const console = { name: 'console', url: consoleUrl, token };
  const trigger = { name: 'trigger', url: triggerUrl, token };

  const request = async (asked: Exchange, requestId?: string): Promise<Result<Answer>> => {
    const headers = { 'idempotency-key': requestId ?? randomUUID() };
    const send = () =>
      exchange(trigger, { ...asked, headers, ...(signal === undefined ? {} : { signal }) }, Answer);
    try {
      return ok(await untilAnswered(knownOf(requestId), send, patienceMilliseconds, signal));
    } catch (error) {
      // Who may not ask was not refused what was asked.
      const isRefusal = error instanceof ProblemFault && error.permanent && error.problem.status !== 401;
      if (isRefusal) return refuse(refusalOf(error.problem));
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

  const status = () => exchange(console, { path: '/api/v1/status' }, consoleApi.ConsoleStatus);
  const known = async <Item extends z.ZodType>(path: string, item: Item): Promise<z.output<Item>> => {
    const answer = await exchange(console, { path }, consoleApi.oneOf(item as z.ZodType));
    return answer.item as z.output<Item>;
  };
  const one = <Item extends z.ZodType>(path: string, item: Item) => caughtUp(() => known(path, item), status);
  const backup = (id: string) => one(backupPath(id), consoleApi.BackupView);
  const recovery = (id: string) => one(recoveryPath(id), consoleApi.RecoveryView);

  const eventsAt = (path: string, query: { readonly type?: string } | undefined) =>
    eachOf((after) =>
      exchange(
        console,
        { path: `${path}/events`, query: { limit: STORY_EVENTS, ...query, after } },
        consoleApi.listOf(consoleApi.RecordedEvent),
      ),
    );

  return {
    requestBackup: (body) => request({ method: 'POST', path: '/api/v1/backups', body }, body.requestId),
    cancelBackup: (id, reason) =>
      request({
        method: 'DELETE',
        path: `/api/v1/backups/${encodeURIComponent(id)}`,
        body: reason === undefined ? {} : { reason },
      }),
    requestRecovery: (body) => request({ method: 'POST', path: '/api/v1/recoveries', body }, body.requestId),
    cancelRecovery: (id, reason) =>
      request({
        method: 'DELETE',
        path: `/api/v1/recoveries/${encodeURIComponent(id)}`,
        body: reason === undefined ? {} : { reason },
      }),
    order(order, purpose, id, { requestId, ...body } = {}) {
      const path = purpose === 'backup' ? backupPath(id) : recoveryPath(id);
      return order === 'cancel'
        ? request({ method: 'DELETE', path, body }, requestId)
        : request({ method: 'POST', path: `${path}/${order}`, body }, requestId);
    },
    defineSchedule: ({ scheduleId, ...body }) =>
      request({ method: 'PUT', path: `/api/v1/schedules/${encodeURIComponent(scheduleId)}`, body }),
    removeSchedule: (id) =>
      request({ method: 'DELETE', path: `/api/v1/schedules/${encodeURIComponent(id)}` }),
    definePolicy: ({ policyId, ...body }) =>
      request({ method: 'PUT', path: `/api/v1/policies/${encodeURIComponent(policyId)}`, body }),
    changePolicy: (policyId, body) =>
      request({ method: 'PATCH', path: `/api/v1/policies/${encodeURIComponent(policyId)}`, body }),
    changeHostPolicy: (hostId, body) =>
      request({ method: 'PATCH', path: `/api/v1/host-policies/${encodeURIComponent(hostId)}`, body }),
    changeDeploymentPolicy: (body) => request({ method: 'PATCH', path: '/api/v1/deployment-policy', body }),
    redriveDeadLetter: ({ requestId, letter, ...body }) =>
      request(
        { method: 'POST', path: `/api/v1/dead-letters/${encodeURIComponent(letter)}/redrive`, body },
        requestId,
      ),

    page,
    all: (list, query) =>
      eachOf((after) => page(list, { limit: PAGE_ITEMS, ...query, after } as ListQuery<typeof list>)),
    backup,
    explain: (id) => one(`${backupPath(id)}/explain`, consoleApi.Explanation),
    story: (id, query) => eventsAt(backupPath(id), query),
    recovery,
    explainRecovery: (id) => one(`${recoveryPath(id)}/explain`, consoleApi.RecoveryExplanation),
    recoveryStory: (id, query) => eventsAt(recoveryPath(id), query),
    run: (id) =>
      caughtUp(
        () =>
          findRun(id, {
            backup: (of) => known(backupPath(of), consoleApi.BackupView),
            recovery: (of) => known(recoveryPath(of), consoleApi.RecoveryView),
          }),
        status,
      ),
    follow: (options = {}) => follow(console, options),
    async queue(host) {
      const answer = consoleApi.listOf(consoleApi.QueueView);
      return (await exchange(console, { path: '/api/v1/queue', query: { host } }, answer)).items;
    },
    status,
    rebuildProjections: () =>
      exchange(console, { method: 'POST', path: '/api/v1/projections/rebuild' }, consoleApi.RebuildStarted),
  };
}

const backupPath = (id: string): string => `/api/v1/backups/${encodeURIComponent(id)}`;
const recoveryPath = (id: string): string => `/api/v1/recoveries/${encodeURIComponent(id)}`;

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
