/** For tests: the trigger as main.ts wires it, but for its schedules, on a real log and a real NATS; and how it is asked. */
import type { Answer, RequestName } from '@backhaul/contracts';
import { commandService } from '@backhaul/event-store';
import type { TestMessaging, TestService } from '@backhaul/messaging/testing';
import Fastify, { type FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { serveHttp } from './adapters/http-api.ts';
import { consumeFromNats } from './adapters/nats.ts';
import { schedulerOf } from './adapters/scheduler.ts';
import { schedule } from './core/schedule.ts';
import { deskOn, LONG_STREAMS_CACHED } from './subjects.ts';

/** One instance. Its host is `lab`. `now`: the clock of its machine. `time`: the clock of the log, where it is to be another. */
export async function startTrigger(
  servers: TestMessaging,
  { now = () => new Date().toISOString(), time }: { now?: () => string; time?: () => Promise<string> } = {},
) {
  const service = await servers.connect('trigger');
  const desk = deskOn(service.store, new Set(['lab']), now);
  const schedules = commandService(service.store, schedule, { cachedStreams: LONG_STREAMS_CACHED });
  const http = Fastify();
  serveHttp(http, desk, schedules, service.messaging.answer);
  await consumeFromNats(service.messaging, desk, schedules);
  const scheduler = schedulerOf({
    ...{ desk, schedules, log: pino({ level: 'silent' }) },
    ...(time === undefined ? {} : { time }),
  });
  return { service, http, runSchedules: (signal: AbortSignal): Promise<void> => scheduler.run(signal) };
}

/** Checked by nobody but the trigger. */
export type RequestBody = { readonly requestId: string } & Record<string, unknown>;

/** Sends over NATS and waits for the first answer. */
export async function askOverNats(
  { messaging }: TestService,
  name: RequestName,
  body: RequestBody,
  messageId?: string,
): Promise<Answer | undefined> {
  const { answer } = messaging.awaitAnswer(body.requestId, 15_000);
  await messaging.request(name, body as never, messageId);
  return await answer;
}

/** `body`: as it is when it is text. */
export const callOverHttp = (
  http: FastifyInstance,
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  url: string,
  body: unknown = {},
  headers: Record<string, string> = {},
) =>
  http.inject({
    method,
    url,
    headers: { 'content-type': 'application/json', ...headers },
    payload: typeof body === 'string' ? body : JSON.stringify(body),
  });
