/** A chunk that rots in the repository: found by a recovery, made whole by the next backup that has its bytes, by real parts. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { openRepository, verify } from '@backhaul/repository';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType } from './log-checks.ts';

let lab: Lab;
const first = { backupId: '', hash: '' };

const hashOf = async (image: string): Promise<string> =>
  sha256Of(await copyOf(lab.image(image), lab.image('../compared.copy')));

async function backUp(more: Record<string, unknown> = {}): Promise<string> {
  const backupId = await lab.backup('web', more);
  expect(await lab.ended(backupId)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  return backupId;
}

async function recovers(backupId: string, vm: string, hash: string): Promise<void> {
  const recoveryId = await lab.recover(backupId, vm);
  expect(await lab.ended(recoveryId)).toMatchObject({ type: 'RecoveryCompleted' });
  await lab.closed(recoveryId);
  expect(await hashOf(`${vm}/vda.qcow2`)).toBe(hash);
}

async function chunkAt(offset: number): Promise<{ digest: string; path: string }> {
  const pieces = ofType(await lab.story(first.backupId), 'ChunkReceived');
  const digest = pieces.find(({ data }) => data.offset === offset)?.data.digest ?? '';
  return { digest, path: join(lab.stack.repository, 'chunks', digest.slice(0, 2), digest) };
}

/** Rots the chunk of the first restore point at this offset, and has a recovery find it. */
async function rotten(offset: number, vm: string): Promise<string> {
  const { digest, path } = await chunkAt(offset);
  const bytes = await readFile(path);
  bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 0xff;
  await writeFile(path, bytes);

  const recoveryId = await lab.recover(first.backupId, vm);
  expect(await lab.ended(recoveryId)).toMatchObject({
    type: 'RecoveryFailed',
    data: {
      refusal: {
        code: 'RestorePointDamaged',
        message: expect.stringContaining(digest),
        wayOut: expect.stringContaining('verify --deep'),
      },
      alternative: null,
    },
  });
  await lab.closed(recoveryId);
  everythingWasGivenBack(await lab.story(recoveryId));
  return digest;
}

beforeAll(async () => {
  lab = await openLab();
  await makeImage(lab.image('web/vda.qcow2'), 24 * MiB);
  await writeRandom(lab.image('web/vda.qcow2'), 0, 16 * MiB);
  first.hash = await hashOf('web/vda.qcow2');
  first.backupId = await backUp();
});
afterAll(() => lab?.close());

test('an incremental reads again what is damaged of its parent, though it has not changed: both can be recovered then', async () => {
  await rotten(4 * MiB, 'never-1');
  await writeRandom(lab.image('web/vda.qcow2'), 20 * MiB, 1 * MiB);
  const hash = await hashOf('web/vda.qcow2');
  const child = await backUp({ kind: 'incremental' });
  const story = await lab.story(child);
  expect(ofType(story, 'ChildJobStarted')).toMatchObject([
    { data: { kind: 'incremental', kindReason: expect.stringMatching(/^4 MiB .*damaged.*read again/) } },
  ]);
  expect(ofType(story, 'BackupCompleted')[0]?.data.totals.readBytes).toBe(5 * MiB);
  await recovers(child, 'web-1', hash);
  await recovers(first.backupId, 'web-first', first.hash);
});

test('a full that is taken after a recovery found damage can be recovered', async () => {
  await rotten(8 * MiB, 'never-2');
  const hash = await hashOf('web/vda.qcow2');
  await recovers(await backUp({ kind: 'full' }), 'web-2', hash);
});

test('a recovery finds the first chunk that is damaged, and verify --deep the others: a backup heals them all, and verify says so', async () => {
  const digests = [await rotten(0, 'never-3')];
  const repository = await openRepository({ location: lab.stack.repository, create: false });
  try {
    const other = await chunkAt(12 * MiB);
    await writeFile(other.path, (await readFile(other.path)).subarray(0, 1000));
    digests.push(other.digest);
    const found = await verify({ repository, deep: true });
    expect(new Set(found.problems.map(({ thing }) => thing))).toEqual(new Set(digests));
    await backUp({ kind: 'incremental' });
    const { problems, healed } = await verify({ repository, deep: true });
    expect(problems).toEqual([]);
    expect(healed.map(({ digest }) => digest)).toEqual(expect.arrayContaining(digests));
  } finally {
    await repository.close();
  }
});
