/** Data streams against a real log, a real repository and real NBD servers: what is on the disk, what is said of it, and in which order. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Event, EventData, RecoveryPlan } from '@backhaul/contracts';
import { streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId, MiB } from '@backhaul/kernel';
import { serveNbd } from '@backhaul/nbd';
import { openRepository, type Repository } from '@backhaul/repository';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { exportJobStream } from './export-job.ts';
import {
  CHUNK,
  leased,
  leaseOf,
  recoveryPlan,
  SIZE,
  sampleRestorePoint,
  type Target,
  targetDisk,
} from './recovery.fixture.ts';
import { type ExportParts, giveUpExportJob, runExportJob } from './run-export-job.ts';

let server: TestStore;
let planner: EventStore;
let directory: string;
let repository: Repository;
let parts: ExportParts;
let content: Uint8Array;
let digests: string[];
let restorePoint: { backupId: string; manifestDigest: string; sizeBytes: number };

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-export-'));
  server = await openTestStore();
  planner = await server.store('planner');
  repository = await openRepository({ location: join(directory, 'repository'), workers: 1 });
  parts = {
    store: await server.store('export'),
    repository,
    requestMilliseconds: 2_000,
    log: pino({ level: 'silent' }),
  };
  ({ content, digests, restorePoint } = await sampleRestorePoint(repository));
});
afterAll(async () => {
  await repository?.close();
  await server?.close();
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
});

const never = new AbortController().signal;
const ofChunks = (...counts: readonly number[]) => {
  let offset = 0;
  return counts.map((count) => {
    const portion = { offset, length: count * CHUNK };
    offset += portion.length;
    return portion;
  });
};

/** A recovery of the restore point that the planner has planned. */
async function planned(
  name: string,
  portions = ofChunks(5),
  of: Partial<typeof restorePoint> & { verify?: boolean } = {},
): Promise<RecoveryPlan> {
  const recoveryId = derivedId('test', name);
  const plan = recoveryPlan(recoveryId, { ...restorePoint, ...of }, portions);
  const appended = await planner.append(
    [
      {
        stream: streamName('plan', recoveryId),
        expected: 'none',
        events: [{ type: 'RecoveryProxiesCalculated', data: plan }],
      },
    ],
    { commandId: name, metadata: { correlation: recoveryId, causation: 'test', actor: 'planner' } },
  );
  if (!appended.ok) throw new Error(appended.refusal.message);
  return plan;
}

/** Serves the disk as the one port of a proxy, until the test ends. */
async function portOf(target: Target): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bh-port-'));
  const served = await serveNbd({
    exports: [target],
    listen: { kind: 'unix', socketPath: join(folder, 's') },
    log: () => undefined,
  });
  onTestFinished(async () => {
    await served.close();
    await rm(folder, { recursive: true });
  });
  return served.uri.replace('///', '///vda');
}

const story = async (plan: RecoveryPlan, index = 0): Promise<Event[]> =>
  await Array.fromAsync(
    parts.store.readStream(exportJobStream(plan.childJobs[index]?.childJobId ?? '')),
    ({ type, data }) => ({ type, data }) as Event,
  );
const confirmedOf = (events: readonly Event[]): EventData<'ChunkExported'>[] =>
  events.flatMap((event) => (event.type === 'ChunkExported' ? [event.data] : []));
const offsetsOf = (events: readonly Event[]): number[] =>
  confirmedOf(events)
    .map(({ offset }) => offset)
    .sort((a, b) => a - b);
const attempt = async (plan: RecoveryPlan, fence: number, uri: string, index = 0): Promise<void> =>
  await runExportJob(parts, leased(leaseOf(plan, index, fence, [uri])), never);

const PIECES = [0, 2 * CHUNK, 3 * CHUNK, 3 * CHUNK + 3 * MiB, 4 * CHUNK];
const DATA_BYTES = 2 * CHUNK + 3 * MiB;

test('all of a portion is on the disk before it is said, zeros are left alone, and what was confirmed is flushed', async () => {
  const plan = await planned('whole', ofChunks(3, 2), { verify: true });
  const saidAtFlush: number[] = [];
  const target = targetDisk(SIZE, ({ flush }) => ({
    async flush() {
      saidAtFlush.push(offsetsOf(await story(plan)).length);
      await flush?.();
    },
  }));
  const uri = await portOf(target);
  await attempt(plan, 1, uri);
  await attempt(plan, 2, uri, 1);
  expect(Buffer.compare(target.content, content)).toBe(0);
  expect(target.writes.reduce((sum, { length }) => sum + length, 0)).toBe(DATA_BYTES - 2 * MiB);
  const events = await story(plan);
  expect(events.map(({ type }) => type)).toEqual([
    'ExportJobStarted',
    'ChunkExported',
    'ChunkExported',
    'ExportJobCompleted',
  ]);
  expect(saidAtFlush[0]).toBe(0);
  expect(events.at(-1)?.data).toMatchObject({
    ...{ writtenBytes: 2 * CHUNK, zeroBytes: CHUNK, verifiedBytes: 2 * CHUNK, resumedBytes: 0, chunks: 2 },
  });
  expect(confirmedOf(events).find(({ offset }) => offset === 0)).toMatchObject({
    ...{ length: CHUNK, digest: digests[0] },
  });
});

test('an attempt that is cut short confirms what it wrote, and the next writes only the rest', async () => {
  const plan = await planned('resumed');
  let dead = false;
  const target = targetDisk(SIZE, ({ write }) => ({
    async write(offset, data) {
      if (offset >= 4 * CHUNK) dead = true;
      if (dead) throw Object.assign(new Error('the proxy has gone'), { code: 'EIO' });
      await write?.(offset, data);
    },
  }));
  const uri = await portOf(target);
  await attempt(plan, 1, uri);
  const [first] = [await story(plan)];
  expect(first.at(-1)).toMatchObject({
    type: 'ExportJobInterrupted',
    data: {
      retryable: true,
      reason: expect.stringMatching(/disk vda of vm web2 through proxy p1.*the proxy has gone/),
    },
  });
  const confirmed = confirmedOf(first);
  expect(confirmed.length).toBeGreaterThan(0);
  expect(confirmed.length).toBeLessThan(PIECES.length);

  const before = target.writes.length;
  target.write = targetWrite(target);
  await attempt(plan, 2, uri);
  const events = await story(plan);
  expect(offsetsOf(events)).toEqual(PIECES);
  expect(events.at(-1)?.data).toMatchObject({
    resumedBytes: confirmed.reduce((sum, { length }) => sum + length, 0),
    chunks: PIECES.length,
  });
  for (const { offset } of target.writes.slice(before))
    expect(confirmed.some((piece) => offset >= piece.offset && offset < piece.offset + piece.length)).toBe(
      false,
    );
  expect(Buffer.compare(target.content, content)).toBe(0);
});

const targetWrite = (target: Target) => async (offset: number, data: Uint8Array) => {
  target.writes.push({ offset, length: data.length });
  target.content.set(data, offset);
};

test('an attempt that was overtaken confirms nothing any more', async () => {
  const plan = await planned('overtaken');
  // The first is to be cut by the second, and neither by time on a machine that is busy.
  const patient = { ...parts, requestMilliseconds: 60_000 };
  const attempt = async (fence: number, uri: string): Promise<void> =>
    await runExportJob(patient, leased(leaseOf(plan, 0, fence, [uri])), never);
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const slow = targetDisk(SIZE, ({ write }) => ({
    async write(offset, data) {
      reached.resolve();
      await gate.promise;
      await write?.(offset, data);
    },
  }));
  const late = attempt(1, await portOf(slow));
  await reached.promise;
  await attempt(2, await portOf(targetDisk(SIZE)));
  gate.resolve();
  await late;
  const events = await story(plan);
  expect(confirmedOf(events).map(({ leaseId }) => leaseId)).toEqual(PIECES.map(() => 'lease-2'));
  expect(events.at(-1)).toMatchObject({ type: 'ExportJobCompleted', data: { leaseId: 'lease-2' } });
  await attempt(1, 'nbd+unix:///vda?socket=/nonexistent');
  expect(await story(plan)).toHaveLength(events.length);
});

test('the last word of the attempt before, said while the next one begins, does not stop it', async () => {
  const plan = await planned('last word');
  const before = leased(leaseOf(plan, 0, 1, ['nbd+unix:///vda?socket=/nonexistent']));
  const between = async (): Promise<void> =>
    await giveUpExportJob(parts, before, new Error('its proxy has gone'));
  const store = storeWithNewsBetween(parts.store, between);
  const uri = await portOf(targetDisk(SIZE));
  await runExportJob({ ...parts, store }, leased(leaseOf(plan, 0, 2, [uri])), never);
  const ends = (await story(plan)).filter(({ type }) => type !== 'ChunkExported');
  expect(ends).toMatchObject([
    { type: 'ExportJobInterrupted', data: { leaseId: 'lease-1' } },
    { type: 'ExportJobStarted', data: { leaseId: 'lease-2' } },
    { type: 'ExportJobCompleted', data: { leaseId: 'lease-2' } },
  ]);
});

/** Somebody else appends after what the first append builds on was read. */
function storeWithNewsBetween(store: EventStore, news: () => Promise<void>): EventStore {
  let told = false;
  return {
    ...{ readStream: store.readStream.bind(store), readStreamPage: store.readStreamPage.bind(store) },
    async append(...args: Parameters<EventStore['append']>) {
      if (!told) {
        told = true;
        await news();
      }
      return await store.append(...args);
    },
  } as EventStore;
}

test('what could not be flushed is not confirmed', async () => {
  const plan = await planned('unflushed');
  const target = targetDisk(SIZE, () => ({
    async flush() {
      throw Object.assign(new Error('the cache is lost'), { code: 'EIO' });
    },
  }));
  await attempt(plan, 1, await portOf(target));
  expect((await story(plan)).map(({ type }) => type)).toEqual(['ExportJobStarted', 'ExportJobInterrupted']);
});

test('a disk that does not hold what was written is found by the sample, and anywhere when all is read back', async () => {
  /** Loses the write of one piece, and says that it has it. */
  const liar = async (lost: number) =>
    await portOf(
      targetDisk(SIZE, ({ write }) => ({
        write: async (offset, data) => (offset === lost ? undefined : await write?.(offset, data)),
      })),
    );
  const [sample, unseen, all] = [
    await planned('last one lost'),
    await planned('middle one lost'),
    await planned('middle one lost, all verified', ofChunks(5), { verify: true }),
  ];
  await attempt(sample, 1, await liar(4 * CHUNK));
  await attempt(unseen, 1, await liar(3 * CHUNK));
  await attempt(all, 1, await liar(3 * CHUNK));
  expect((await story(unseen)).at(-1)).toMatchObject({
    type: 'ExportJobCompleted',
    data: { verifiedBytes: CHUNK + MiB },
  });
  const differs = (offset: number) => ({
    type: 'ExportJobInterrupted',
    data: {
      retryable: false,
      reason: expect.stringMatching(new RegExp(`^ReadBackDiffers: .*disk vda.*offset ${offset},`, 'i')),
    },
  });
  const firstByte = (offset: number): number =>
    offset + content.subarray(offset).findIndex((byte) => byte !== 0);
  expect((await story(sample)).at(-1)).toMatchObject(differs(firstByte(4 * CHUNK)));
  expect((await story(all)).at(-1)).toMatchObject(differs(firstByte(3 * CHUNK)));
});

test('a target that is full, or that cannot be written or flushed, ends it for good before or at the first byte', async () => {
  const ends = async (name: string, change: Partial<Target>) => {
    const plan = await planned(name);
    const target = targetDisk(SIZE, () => change);
    if (name === 'no flush') delete (target as { flush?: unknown }).flush;
    await attempt(plan, 1, await portOf(target));
    expect(target.writes).toEqual([]);
    return (await story(plan)).at(-1)?.data;
  };
  const noSpace = Object.assign(new Error('no room'), { code: 'ENOSPC' });
  expect(await ends('full', { write: async () => Promise.reject(noSpace) })).toMatchObject({
    ...{ retryable: false, reason: expect.stringMatching(/^NoSpace: .*disk vda of vm web2/) },
  });
  const refused = (why: string) => ({ retryable: false, reason: expect.stringContaining(why) });
  expect(await ends('read-only', { readOnly: true })).toMatchObject(refused('it is read-only'));
  expect(await ends('no flush', {})).toMatchObject(refused('it offers no flush'));
  expect(await ends('short', { sizeBytes: CHUNK })).toMatchObject(refused(`it has ${CHUNK} bytes`));
});

test('damage is named by disk, offset and digest, and only the manifest that was planned is recovered', async () => {
  const chunk = join(repository.location, 'chunks', String(digests[1]).slice(0, 2), String(digests[1]));
  const copy = await repository.readChunk(digests[1] as string);
  await writeFile(chunk, 'damaged');
  const plan = await planned('damaged chunk');
  await attempt(plan, 1, await portOf(targetDisk(SIZE)));
  const ended = (await story(plan)).at(-1);
  expect(ended).toMatchObject({
    type: 'ExportJobInterrupted',
    data: { retryable: false, reason: expect.stringMatching(/^RestorePointDamaged: /) },
  });
  expect(ended?.data).toMatchObject({
    reason: expect.stringContaining(`Disk vda, offset ${2 * CHUNK}, chunk ${digests[1]}`),
  });
  await rm(chunk);
  const again = await openRepository({ location: repository.location, workers: 1 });
  await again.putChunk(copy);
  await again.close();

  const other = await planned('another manifest', ofChunks(5), { manifestDigest: 'f'.repeat(64) });
  await attempt(other, 1, await portOf(targetDisk(SIZE)));
  expect((await story(other)).at(-1)?.data).toMatchObject({
    ...{ retryable: false, reason: expect.stringMatching(/^RestorePointDamaged: .*as planned/) },
  });
});

test('a service that stops leaves its lease as it is; work that is given up gives it back', async () => {
  const plan = await planned('stopped');
  const stop = new AbortController();
  const ended = Promise.withResolvers<void>();
  const target = targetDisk(SIZE, () => ({
    async write() {
      stop.abort(new Error('stopping'));
      await ended.promise;
    },
  }));
  const lease = leased(leaseOf(plan, 0, 1, [await portOf(target)]));
  await expect(runExportJob(parts, lease, stop.signal)).rejects.toThrow();
  ended.resolve();
  expect((await story(plan)).map(({ type }) => type)).toEqual(['ExportJobStarted']);
  await giveUpExportJob(parts, lease, new Error('it never worked'));
  expect((await story(plan)).at(-1)).toMatchObject({
    type: 'ExportJobInterrupted',
    data: { reason: 'it never worked', retryable: true, leaseId: 'lease-1' },
  });
});

test('small pieces share the chunk they come from', async () => {
  let reads = 0;
  const counting = {
    ...{ location: repository.location, repositoryId: repository.repositoryId },
    ...{ readManifest: repository.readManifest, readSegments: repository.readSegments },
    holdChunk: (digest: string) => {
      reads += 1;
      return repository.holdChunk(digest);
    },
  };
  const plan = await planned('shared chunks', ofChunks(3, 2));
  await runExportJob(
    { ...parts, repository: counting },
    leased(leaseOf(plan, 1, 1, [await portOf(targetDisk(SIZE))])),
    never,
  );
  expect((await story(plan, 1)).at(-1)).toMatchObject({ type: 'ExportJobCompleted', data: { chunks: 3 } });
  expect(reads).toBe(2);
});

test('one buffer is enough for streams at a time and one after the other, and comes back from every way they can end', async () => {
  const small = await openRepository({ location: repository.location, workers: 1, buffers: 1 });
  onTestFinished(() => small.close());
  const run = async (name: string, target: Target): Promise<Event | undefined> => {
    const plan = await planned(name, ofChunks(5), { verify: true });
    const lease = leased(leaseOf(plan, 0, 1, [await portOf(target)]));
    await runExportJob({ ...parts, repository: small }, lease, never);
    return (await story(plan)).at(-1);
  };
  const failing = targetDisk(SIZE, () => ({
    write: async () => Promise.reject(Object.assign(new Error('no luck'), { code: 'EIO' })),
  }));
  const forgetful = targetDisk(SIZE, () => ({ write: async () => undefined }));
  const [whole, other] = [targetDisk(SIZE), targetDisk(SIZE)];
  expect(await run('one buffer, failing', failing)).toMatchObject({ type: 'ExportJobInterrupted' });
  expect((await run('one buffer, forgetful', forgetful))?.data).toMatchObject({
    reason: expect.stringMatching(/^ReadBackDiffers/),
  });
  const ended = await Promise.all([run('one buffer, whole', whole), run('one buffer, other', other)]);
  expect(ended.map((event) => event?.type)).toEqual(['ExportJobCompleted', 'ExportJobCompleted']);
  for (const { content: found } of [whole, other]) expect(Buffer.compare(found, content)).toBe(0);
  (await small.takeBuffer()).release();
});
