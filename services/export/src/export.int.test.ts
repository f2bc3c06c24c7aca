/** Data streams against a real log, a real repository and real NBD servers: what is on the disk, what is said of it, and in which order. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Event, RecoveryPlan } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { openRepository, type Repository } from '@backhaul/repository';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import {
  confirmedOf,
  type ExportLab,
  never,
  ofChunks,
  offsetsOf,
  openExportLab,
  PIECES,
  portOf,
} from './export-lab.fixture.ts';
import { CHUNK, leased, leaseOf, SIZE, type Target, targetDisk } from './recovery.fixture.ts';
import { type ExportParts, giveUpExportJob, runExportJob } from './run-export-job.ts';

let lab: ExportLab;
let parts: ExportParts;
let repository: Repository;
let content: Uint8Array;
let digests: string[];
beforeAll(async () => {
  lab = await openExportLab();
  ({ parts, repository, content, digests } = lab);
});
afterAll(() => lab?.close());

const planned: ExportLab['planned'] = (...of) => lab.planned(...of);
const story: ExportLab['story'] = (...of) => lab.story(...of);
const attempt = async (plan: RecoveryPlan, fence: number, uri: string, index = 0) =>
  await runExportJob(parts, leased(leaseOf(plan, index, fence, [uri])), never);

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
