/** What becomes of a chunk that rots: it is noted where it is found, in the repository, and whoever has the bytes again makes it whole. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { chunkName } from './format/bounds.ts';
import type { Repository } from './repository.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';
import { verify } from './verify.ts';

const fileOf = (repository: Repository, digest: string): string =>
  join(repository.location, chunkName(digest));

async function rot(repository: Repository, digest: string): Promise<void> {
  const file = await readFile(fileOf(repository, digest));
  file[5000] = (file[5000] ?? 0) ^ 0x10;
  await writeFile(fileOf(repository, digest), file);
}

/** A restore point of one disk of two chunks. */
async function oneDisk() {
  const repository = await sampleRepository();
  const content = noise(2 * MiB);
  await storeDisk(repository, 1, content, MiB);
  const [first, second] = [content.slice(0, MiB), content.slice(MiB)];
  const digest = String((await repository.putChunk(first)).digest);
  const other = String((await repository.putChunk(second)).digest);
  return { repository, first, digest, other };
}

test.each([
  ['rotten', rot, /damaged/],
  ['lost', (at: Repository, digest: string) => rm(fileOf(at, digest)), /missing/],
])(
  'a chunk that is %s is stored anew by the next put of the same bytes, by whoever found it and whoever has them',
  async (_, harm, reason) => {
    const { repository, first, digest, other } = await oneDisk();
    const reader = await sampleRepository({ location: repository.location });
    await harm(repository, digest);
    await expect(reader.readChunk(digest)).rejects.toThrow(reason);

    expect(await repository.damagedChunks()).toEqual(new Set([digest]));
    expect(await repository.hasChunk(digest)).toBe(false);
    expect(await repository.hasChunk(other)).toBe(true);
    // By a process that knows it to be durable, for it was the one that put it.
    expect((await repository.putChunk(first)).storedBytes).toBeGreaterThan(MiB);
    expect(Buffer.compare(await reader.readChunk(digest), first)).toBe(0);
    expect(await reader.damagedChunks()).toEqual(new Set());
    expect((await repository.putChunk(first)).storedBytes).toBe(0);
  },
);

test('a chunk that is held finds damage as one that is read does', async () => {
  const { repository, digest } = await oneDisk();
  await rot(repository, digest);
  await expect(repository.holdChunk(digest)).rejects.toThrow(/damaged/);
  expect(await repository.damagedChunks()).toEqual(new Set([digest]));
});

test('verify finds what is noted without reading it, and says what was healed since', async () => {
  const { repository, first, digest } = await oneDisk();
  await rot(repository, digest);
  expect((await verify({ repository })).problems).toEqual([]);
  expect((await verify({ repository, deep: true })).problems).toHaveLength(1);
  const noted = expect.stringMatching(/^is noted as damaged since 20.*damaged/);
  expect(await verify({ repository })).toMatchObject({
    problems: [{ thing: digest, reason: noted }],
    healed: [],
  });
  await repository.putChunk(first);
  const whole = { problems: [], healed: [{ digest, reason: expect.stringMatching(/damaged/) }] };
  expect(await verify({ repository })).toMatchObject(whole);
  expect(await verify({ repository, deep: true })).toMatchObject(whole);
});

test('a note of a chunk that is whole goes when all of it was read, and costs nothing but a look until then', async () => {
  const { repository, digest } = await oneDisk();
  const aside = join(repository.location, 'aside');
  await rename(fileOf(repository, digest), aside);
  await expect(repository.readChunk(digest)).rejects.toThrow(/missing/);
  await rename(aside, fileOf(repository, digest));
  expect((await verify({ repository })).problems).toHaveLength(1);
  expect(await verify({ repository, deep: true })).toMatchObject({ problems: [], healed: [{ digest }] });
  expect(await repository.damagedChunks()).toEqual(new Set());
});

test('what is in the folder of notes and is no note is passed over, and a note that cannot be read is one all the same', async () => {
  const { repository, first, digest } = await oneDisk();
  await mkdir(join(repository.location, 'damaged'));
  await writeFile(join(repository.location, 'damaged', `${digest}.json`), 'no JSON');
  await writeFile(join(repository.location, 'damaged', 'README'), 'a stranger');
  expect((await verify({ repository })).problems).toMatchObject([{ thing: digest }]);
  expect((await repository.putChunk(first)).storedBytes).toBeGreaterThan(MiB);
  expect((await verify({ repository })).problems).toEqual([]);
});

test('a repository that has gone is noted nothing in, and damage that cannot be noted is told with the reason', async () => {
  const { repository, digest } = await oneDisk();
  const aside = `${repository.location}.aside`;
  await rename(repository.location, aside);
  await mkdir(repository.location);
  await expect(repository.readChunk(digest)).rejects.toThrow(
    /is missing.*which could not be noted there.*out of reach/,
  );
  expect(await readdir(repository.location)).toEqual([]);
  await rm(repository.location, { recursive: true });
  await rename(aside, repository.location);
  expect(await repository.damagedChunks()).toEqual(new Set());
});
