/** What is done while the file system of a repository hangs and does not fail: nobody waits for ever, and nothing that was lent to it is used again. */
import { execFile } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, MiB } from '@backhaul/kernel';
import { expect, onTestFinished, test } from 'vitest';
import { isRepositoryFault } from './faults.ts';
import { chunkName } from './format/bounds.ts';
import type { Repository } from './repository.ts';
import { freezingFolder } from './testing/freezing-folder.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';
import { verify } from './verify.ts';

const answerMilliseconds = 500;
const failing = (message: RegExp) => ({
  code: 'RepositoryFailing',
  message: expect.stringMatching(message),
});
const put = async (repository: Repository, content: Uint8Array) => {
  const buffer = await repository.takeBuffer();
  try {
    buffer.bytes.set(content);
    return await repository.putBuffer(buffer, content.length);
  } finally {
    buffer.release();
  }
};

/** Whoever waits for a writer has had one. */
function letGo(pipe: string): void {
  try {
    closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // Nobody waits.
  }
}

test('a put into a file system that hangs fails, the next at once, and what it was given is whole when it goes on', async ({
  skip,
}) => {
  const frozen = (await freezingFolder()) ?? skip('a file system cannot be mounted here');
  const repository = await sampleRepository({ location: frozen.location, buffers: 1, answerMilliseconds });
  await storeDisk(repository, 1, noise(MiB), MiB);
  await frozen.freeze();
  const content = noise(MiB);
  const failure = await put(repository, content).catch((error: unknown) => error);
  expect(failure).toMatchObject(failing(/hangs/));
  expect(isRepositoryFault(failure)).toBe(true);
  // The one buffer is still what the call that hangs would write, and is not filled with anything else.
  await expect(put(repository, noise(MiB))).rejects.toMatchObject(failing(/All buffers/));
  expect((await repository.listManifests()).manifests).toHaveLength(1);

  await frozen.thaw();
  const stored = await eventually('a buffer', 10_000, () => put(repository, content).catch(() => undefined));
  expect(Buffer.compare(await repository.readChunk(String(stored.digest)), content)).toBe(0);
  await put(repository, noise(MiB));
  expect((await verify({ repository, deep: true })).problems).toEqual([]);
});

test('while writing hangs another put is refused before it takes a thread, and so is a manifest', async ({
  skip,
}) => {
  const frozen = (await freezingFolder()) ?? skip('a file system cannot be mounted here');
  const repository = await sampleRepository({ location: frozen.location, answerMilliseconds });
  await frozen.freeze();
  await expect(put(repository, noise(MiB))).rejects.toMatchObject(failing(/no answer/));
  for (const content of [noise(MiB), noise(MiB), noise(MiB)])
    await expect(put(repository, content)).rejects.toMatchObject(failing(/was not tried.*since 20/));
  await expect(storeDisk(repository, 1, Buffer.alloc(MiB), MiB)).rejects.toSatisfy(isRepositoryFault);
});

test('a read that hangs fails, and its buffer is given to nobody before it has ended', async () => {
  const repository = await sampleRepository({ buffers: 1, answerMilliseconds });
  const content = noise(MiB);
  const digest = String((await repository.putChunk(content)).digest);
  const path = join(repository.location, chunkName(digest));
  const file = await readFile(path);
  // Whoever opens a pipe waits until somebody writes to it.
  await rename(path, `${path}.aside`);
  await promisify(execFile)('mkfifo', [path]);
  onTestFinished(() => letGo(path));
  await expect(repository.holdChunk(digest)).rejects.toMatchObject(failing(/has had no answer/));
  await expect(repository.takeBuffer()).rejects.toMatchObject(failing(/All buffers/));

  await writeFile(path, file.subarray(0, 100));
  await rename(`${path}.aside`, path);
  const held = await eventually('a buffer', 10_000, () =>
    repository.holdChunk(digest).catch(() => undefined),
  );
  expect(Buffer.compare(held.bytes, content)).toBe(0);
  held.release();
  expect(await repository.damagedChunks()).toEqual(new Set());
});
