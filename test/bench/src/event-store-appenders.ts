/** The same append, to both stores: a batch of ChunkReceived to a stream whose exact version the caller keeps. */
import { randomUUID } from 'node:crypto';
import type { Event, StreamName } from '@backhaul/contracts';
import type { AppendContext, EventStore, Expectation, StreamAppend } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import type { PostgresEventStore } from '@event-driven-io/emmett-postgresql';

/** Each call makes a caller with a new stream; that one appends so many events. */
export type Appender = () => (events: number) => Promise<void>;

const backupId = '3f0c8b52-6d0e-5c1b-9a55-0d6f0e6f6c01';
const chunkReceived: Event<'ChunkReceived'> = {
  type: 'ChunkReceived',
  data: {
    backupId,
    hostId: 'rack-7',
    vmId: 'web-1',
    childJobId: `${backupId}.vda.0`,
    diskId: 'vda',
    leaseId: `${backupId}.vda.0.1`,
    offset: 4_194_304,
    length: 4_194_304,
    digest: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    readBytes: 4_194_304,
    storedBytes: 1_234_567,
  },
};
const metadata = { correlation: backupId, causation: randomUUID(), actor: 'ingest' };

export function oneEvent(stream: StreamName, expected: Expectation): [StreamAppend[], AppendContext] {
  return [[{ stream, expected, events: [chunkReceived] }], { commandId: randomUUID(), metadata }];
}

export const backhaulAppender =
  (store: EventStore): Appender =>
  () => {
    const stream: StreamName = `childJob-${randomUUID()}`;
    let version = 0;
    return async (events) => {
      const batch = Array.from({ length: events }, () => chunkReceived);
      const context = { commandId: randomUUID(), metadata };
      const result = await store.append([{ stream, expected: version, events: batch }], context);
      if (!result.ok) throw new Fault(result.refusal.message);
      version += events;
    };
  };

export const emmettAppender =
  (store: PostgresEventStore): Appender =>
  () => {
    const stream = `childJob-${randomUUID()}`;
    let version = 0n;
    return async (events) => {
      const batch = Array.from({ length: events }, () => ({ ...chunkReceived, metadata }));
      const expectedStreamVersion = version === 0n ? 'STREAM_DOES_NOT_EXIST' : version;
      await store.appendToStream(stream, batch, { expectedStreamVersion } as object);
      version += BigInt(events);
    };
  };
