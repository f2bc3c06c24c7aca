import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { ChunkCache } from './chunk-cache.ts';

/** A repository whose chunks are had when the test says so. */
function slowRepository() {
  const asked: string[] = [];
  const gates = new Map<string, PromiseWithResolvers<Uint8Array<ArrayBuffer>>>();
  return {
    asked,
    readChunk(digest: string) {
      asked.push(digest);
      const gate = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
      gates.set(digest, gate);
      return gate.promise;
    },
    async give(digest: string, bytes = 4 * MiB): Promise<void> {
      gates.get(digest)?.resolve(new Uint8Array(bytes));
      await new Promise(setImmediate);
    },
    async fail(digest: string): Promise<void> {
      gates.get(digest)?.reject(new Error(`${digest} is damaged`));
      await new Promise(setImmediate);
    },
  };
}

const had = (cache: ChunkCache, digest: string): Promise<number> =>
  cache.use(digest, (chunk) => chunk.length);

test('a chunk that many ask for at once is unpacked once, and kept', async () => {
  const repository = slowRepository();
  const cache = new ChunkCache({ repository });
  const asking = [had(cache, 'a'), had(cache, 'a'), had(cache, 'a')];
  await repository.give('a');
  const chunks = await Promise.all([...asking, had(cache, 'a')]);
  expect(chunks).toEqual([4 * MiB, 4 * MiB, 4 * MiB, 4 * MiB]);
  expect(repository.asked).toEqual(['a']);
});

test('no more are unpacked at a time than may be, and the others have their turn', async () => {
  const repository = slowRepository();
  const cache = new ChunkCache({ repository, loadsMax: 2 });
  const all = Promise.all(['a', 'b', 'c', 'd'].map((digest) => had(cache, digest)));
  expect(repository.asked).toEqual(['a', 'b']);
  await repository.give('b');
  expect(repository.asked).toEqual(['a', 'b', 'c']);
  for (const digest of ['a', 'c', 'd']) await repository.give(digest);
  await all;
});

test('what was used longest ago is let go of, and memory never exceeds its bound', async () => {
  const repository = slowRepository();
  const cache = new ChunkCache({ repository, bytesMax: 12 * MiB, loadsMax: 1 });
  const load = async (digest: string): Promise<void> => {
    const chunk = had(cache, digest);
    await repository.give(digest);
    await chunk;
    expect(cache.bytes).toBeLessThanOrEqual(12 * MiB);
  };
  for (const digest of ['a', 'b', 'c', 'a', 'd']) await load(digest);
  repository.asked.length = 0;
  for (const digest of ['c', 'a', 'd']) void had(cache, digest);
  expect(repository.asked).toEqual([]);
  await load('b');
  expect(repository.asked).toEqual(['b']);
});

test('what somebody waits for or looks at is not let go of, and what is let go of is gone at once', async () => {
  const repository = slowRepository();
  const cache = new ChunkCache({ repository, bytesMax: 8 * MiB, loadsMax: 2 });
  let kept: Uint8Array | undefined;
  const first = cache.use('a', (chunk) => {
    kept = chunk;
  });
  await repository.give('a');
  await first;
  const all = ['b', 'c', 'd', 'b', 'a'].map((digest) => had(cache, digest));
  for (const digest of ['b', 'c', 'd', 'b', 'a']) await repository.give(digest);
  expect(await Promise.all(all)).toEqual(Array(5).fill(4 * MiB));
  expect(kept?.length).toBe(0);
});

test('a chunk that cannot be read is an error for all who asked, and asked for again the next time', async () => {
  const repository = slowRepository();
  const cache = new ChunkCache({ repository, loadsMax: 1 });
  const asking = [had(cache, 'a'), had(cache, 'a'), had(cache, 'b')].map((chunk) =>
    chunk.then(() => 'had', String),
  );
  await repository.fail('a');
  await repository.give('b');
  expect(await Promise.all(asking)).toEqual(['Error: a is damaged', 'Error: a is damaged', 'had']);
  const again = had(cache, 'a');
  await repository.give('a', 100);
  expect(await again).toBe(100);
  expect(cache.bytes).toBe(4 * MiB + 100);
});
