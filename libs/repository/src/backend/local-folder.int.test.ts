import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../testing/temporary-folder.ts';
import { backendContract } from './backend-contract.ts';
import { LocalFolder } from './local-folder.ts';

backendContract(async () => {
  const folder = await temporaryFolder();
  return () => new LocalFolder(folder);
});

test('no temporary file stays behind a put, a kept file or a failure', async () => {
  const location = await temporaryFolder();
  const folder = new LocalFolder(location);
  await folder.put('a/file', [Buffer.from('x')]);
  await folder.put('a/file', [Buffer.from('x')], { ifAbsent: true });
  await expect(folder.put('a/file/below', [Buffer.from('x')])).rejects.toThrow('Storing a/file/below');
  expect(await readdir(join(location, 'tmp'))).toEqual([]);
});

test('an abandoned temporary file is removed, one that is being written is not', async () => {
  const location = await temporaryFolder();
  const folder = new LocalFolder(location);
  const busy = await folder.stage();
  await writeFile(join(location, 'tmp', 'left-by-a-crash'), 'x');
  const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
  await utimes(join(location, 'tmp', 'left-by-a-crash'), longAgo, longAgo);
  expect(await new LocalFolder(location).removeAbandoned()).toBe(1);
  await busy.write(Buffer.from('still here'));
  await busy.commit('a');
  await busy.discard();
  expect(await readdir(join(location, 'tmp'))).toEqual([]);
  expect(await folder.has('a')).toBe(true);
});

test('an empty file, as a crash leaves it on some file systems, does not count as stored', async () => {
  const location = await temporaryFolder();
  const folder = new LocalFolder(location);
  await writeFile(join(location, 'a'), '');
  expect(await folder.has('a')).toBe(false);
  await folder.put('a', [Buffer.from('x')]);
  expect(await folder.has('a')).toBe(true);
});

test('nobody but the owner may read what is stored', async () => {
  const location = await temporaryFolder();
  await new LocalFolder(location).put('a/b', [Buffer.from('x')]);
  expect((await stat(join(location, 'a'))).mode & 0o777).toBe(0o700);
  expect((await stat(join(location, 'a/b'))).mode & 0o777).toBe(0o600);
});

/** Page-aligned, as the memory of chunks is. */
const pagesOf = (length: number): Uint8Array<SharedArrayBuffer> => {
  const memory = new WebAssembly.Memory({ initial: 65, maximum: 65, shared: true });
  return new Uint8Array(memory.buffer).fill(0x5a).subarray(0, length);
};

test.each([1, 4095, 4096, 4097, 4 * 1024 * 1024 + 16])(
  'whole pages of memory become a file of exactly %i bytes',
  async (length) => {
    const location = await temporaryFolder();
    const pages = pagesOf(4 * 1024 * 1024 + 4096);
    await new LocalFolder(location).put('a/b', [pages.subarray(0, length)], { pages });
    const stored = await readFile(join(location, 'a/b'));
    expect([stored.length, stored.every((byte) => byte === 0x5a)]).toEqual([length, true]);
  },
);

test('where pages cannot be written past the cache, or the memory does not lie on a page, the file is the same', async () => {
  // In memory, and not on a disk: older kernels refuse direct files there. Without it the other half still tells.
  const inMemory = await mkdtemp('/dev/shm/backhaul-').catch(() => undefined);
  onTestFinished(async () => {
    if (inMemory !== undefined) await rm(inMemory, { recursive: true });
  });
  for (const location of [inMemory ?? (await temporaryFolder()), await temporaryFolder()]) {
    const pages = pagesOf(12_288).subarray(8);
    const folder = new LocalFolder(location);
    for (const name of ['a/b', 'a/c']) await folder.put(name, [pages.subarray(0, 5000)], { pages });
    expect((await readFile(join(location, 'a/c'))).length).toBe(5000);
  }
});
