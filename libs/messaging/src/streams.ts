/**
 * The two JetStream streams: `EVENTS` (filled from the log, and again whenever it is lost) and `REQUESTS` (what upstream
 * sends). Both only grow: a full disk refuses the newest message, and the sender keeps it and says so.
 */
import { Fault } from '@backhaul/kernel';
import { DiscardPolicy, NatsError, nanos, RetentionPolicy, StorageType, type StreamInfo } from 'nats';
import { assertConfigured } from './configuration.ts';
import type { Session } from './link.ts';

export const EVENTS = 'EVENTS';
export const REQUESTS = 'REQUESTS';
export type StreamId = typeof EVENTS | typeof REQUESTS;

export interface StreamOptions {
  /** Servers of the cluster that keep each message (1 for a single server). */
  readonly replicas: number;
}

const wanted = (name: StreamId, subject: string, options: StreamOptions) => ({
  name,
  subjects: [subject],
  storage: StorageType.File,
  retention: RetentionPolicy.Limits,
  discard: DiscardPolicy.New,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
  max_msgs_per_subject: -1,
  max_msg_size: -1,
  deny_delete: true,
  deny_purge: true,
  duplicate_window: nanos(5 * 60_000),
  num_replicas: options.replicas,
});

export async function ensureStreams(session: Session, options: StreamOptions): Promise<void> {
  await ensureStream(session, wanted(EVENTS, 'evt.>', options));
  await ensureStream(session, wanted(REQUESTS, 'req.>', options));
}

async function ensureStream(session: Session, configuration: ReturnType<typeof wanted>): Promise<void> {
  const what = `The JetStream stream ${configuration.name}`;
  let info = await streamInfo(session, configuration.name);
  if (info === undefined) {
    try {
      await session.manager.streams.add(configuration);
    } catch (cause) {
      throw new Fault(`${what} cannot be made`, { cause });
    }
    info = await streamInfo(session, configuration.name);
  }
  assertConfigured(what, configuration, info?.config ?? {});
}

export async function streamInfo(session: Session, name: StreamId): Promise<StreamInfo | undefined> {
  try {
    return await session.manager.streams.info(name);
  } catch (cause) {
    if (isNotFound(cause)) return undefined;
    throw new Fault(`Asking NATS for the stream ${name} failed`, { cause });
  }
}

/** The subject of the message that stands at a sequence; undefined when none does. */
export async function subjectAt(
  session: Session,
  name: StreamId,
  sequence: number,
): Promise<string | undefined> {
  if (sequence === 0) return undefined;
  try {
    return (await session.manager.streams.getMessage(name, { seq: sequence })).subject;
  } catch (cause) {
    if (isNotFound(cause)) return undefined;
    throw new Fault(`Asking NATS for message ${sequence} of ${name} failed`, { cause });
  }
}

/** JetStream's answer for a stream, consumer or message that is not there. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof NatsError && error.api_error?.code === 404;
