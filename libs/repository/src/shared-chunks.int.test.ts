import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { SharedChunks } from './shared-chunks.ts';
import { noise, sampleRepository } from './testing/sample-repository.ts';

const BUFFERS = 3;

/** A repository of few buffers with four chunks, and the digests of those that were read. */
async function sample() {
  const repository = await sampleRepository({ buffers: BUFFERS });
  const contents = Array.from({ length: 4 }, () => noise(MiB));
  const digests: string[] = [];
  for (const content of contents) digests.push((await repository.putChunk(content)).digest ?? '');
  const reads: number[] = [];
  const chunks = new SharedChunks(
    {
      holdChunk(digest) {
        reads.push(digests.indexOf(digest));
        return repository.holdChunk(digest);
      },
    },
    8,
  );
  const hold = (chunk: number) => chunks.hold(digests[chunk] ?? 'f'.repeat(64));
  /** Throws where one is missing: then this waits for ever. */
  const takeAll = async () => {
    const buffers = await Promise.all(Array.from({ length: BUFFERS }, () => repository.takeBuffer()));
    for (const buffer of buffers) {
      buffer.bytes.fill(0xee);
      buffer.release();
    }
  };
  return { contents, reads, hold, takeAll };
}

test('neighbours share one read, at the same time and soon after, and the last of them gives the memory back', async () => {
  const { contents, reads, hold, takeAll } = await sample();
  const [one, two] = await Promise.all([hold(0), hold(0)]);
  one.release();
  expect(() => one.release()).toThrow('let go once');
  expect(Buffer.compare(two.bytes, contents[0] as Uint8Array)).toBe(0);
  two.release();
  const again = await hold(0);
  expect(Buffer.compare(again.bytes, contents[0] as Uint8Array)).toBe(0);
  again.release();
  expect(reads).toEqual([0]);
  await takeAll();
});

test('what somebody needed the memory of is read again, and is right', async () => {
  const { contents, reads, hold, takeAll } = await sample();
  for (const n of [0, 1, 2, 3, 1, 3]) {
    const held = await hold(n);
    expect(Buffer.compare(held.bytes, contents[n] as Uint8Array)).toBe(0);
    held.release();
  }
  expect(reads).toEqual([0, 1, 2, 3]);
  await takeAll();
  const held = await hold(3);
  expect(Buffer.compare(held.bytes, contents[3] as Uint8Array)).toBe(0);
  held.release();
  expect(reads).toEqual([0, 1, 2, 3, 3]);
});

test('a read that fails fails for all who waited for it, keeps no memory, and is tried again', async () => {
  const { reads, hold, takeAll } = await sample();
  const failed = await Promise.allSettled([hold(4), hold(4)]);
  expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await expect(hold(4)).rejects.toMatchObject({ permanent: true, code: 'ChunkMissing' });
  expect(reads).toEqual([-1, -1]);
  await takeAll();
});
