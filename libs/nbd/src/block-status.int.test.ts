/** Allocation and dirty blocks, compared with what QEMU's own tools say of the same image. */
import { join } from 'node:path';
import { type Extent, GiB, KiB, MiB, normalised, TiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type NbdClient, STATE_DIRTY, STATE_HOLE, STATE_ZERO, type StatusExtent } from './client.ts';
import { connectNbd } from './connect.ts';
import { fileDigest } from './testing/images.ts';
import {
  type Folder,
  run,
  startNbdkit,
  startQemuNbd,
  startServer,
  temporaryFolder,
} from './testing/servers.ts';

const SIZE = 3 * GiB;
let folder: Folder;
let image: string;

/** What `qemu-io` writes after the bitmap is there: in two neighbouring writes, far apart, and at the very end. */
const written: Extent[] = [
  { offset: 64 * MiB, length: MiB },
  { offset: 65 * MiB, length: 192 * KiB },
  { offset: 2 * GiB - 64 * KiB, length: 256 * KiB },
  { offset: SIZE - 64 * KiB, length: 64 * KiB },
];

beforeAll(async () => {
  folder = await temporaryFolder();
  image = join(folder.path, 'disk.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, String(SIZE)]);
  await run('qemu-io', [
    '-c',
    'write -P 7 0 8M',
    '-c',
    'write -z 16M 4M',
    '-c',
    'write -P 9 2047M 2M',
    image,
  ]);
  for (const bitmap of ['b0', 'b1']) await run('qemu-img', ['bitmap', '--add', image, bitmap]);
  const writes = written.flatMap(({ offset, length }) => ['-c', `write -P 1 ${offset} ${length}`]);
  await run('qemu-io', [...writes, image]);
  await run('qemu-img', ['bitmap', '--disable', image, 'b0']);
  await run('qemu-io', ['-c', `write -P 2 ${GiB} 64k`, image]);
});
afterAll(() => folder[Symbol.asyncDispose]());

async function all(client: NbdClient, context: string, offset = 0, length = client.sizeBytes) {
  const extents: StatusExtent[] = [];
  for await (const extent of client.blockStatus(context, offset, length)) extents.push(extent);
  return extents;
}

/** That they cover the range, in order, without overlap, and that no neighbours could have been joined. */
function expectWhole(extents: readonly StatusExtent[], offset: number, length: number): void {
  let at = offset;
  let flags: number | undefined;
  for (const extent of extents) {
    expect(extent.offset).toBe(at);
    expect(extent.length).toBeGreaterThan(0);
    expect(extent.flags).not.toBe(flags);
    at += extent.length;
    flags = extent.flags;
  }
  expect(at).toBe(offset + length);
}

const DIRTY = 'qemu:dirty-bitmap:b0';
const DIRTY_ALSO = 'qemu:dirty-bitmap:b1';

test('allocation is what qemu-img map says, and a dirty bitmap what was written, over one connection', async () => {
  const digest = await fileDigest(image);
  const { stdout } = await run('qemu-img', ['map', '--output=json', image]);
  const mapped = (
    JSON.parse(stdout) as { start: number; length: number; data: boolean; zero: boolean }[]
  ).map(({ start, length, data }) => ({ offset: start, length, data }));
  {
    await using server = await startQemuNbd(image, 'qcow2', ['-r', '-B', 'b0', '-B', 'b1']);
    const contexts = ['base:allocation', DIRTY, DIRTY_ALSO, 'qemu:dirty-bitmap:absent'];
    const client = await connectNbd({ uri: server.uri(), contexts });
    expect(client.contexts, 'one that is not there is absent').toEqual(contexts.slice(0, 3));

    const allocation = await all(client, 'base:allocation');
    expectWhole(allocation, 0, SIZE);
    const holds = (extent: StatusExtent): boolean => (extent.flags & (STATE_HOLE | STATE_ZERO)) !== 3;
    expect(normalised(allocation.filter(holds))).toEqual(
      normalised(mapped.filter(({ data }) => data).map(({ offset, length }) => ({ offset, length }))),
    );

    const dirty = await all(client, DIRTY);
    expectWhole(dirty, 0, SIZE);
    const changed = (extents: StatusExtent[]) =>
      normalised(extents.filter(({ flags }) => (flags & STATE_DIRTY) !== 0));
    expect(changed(dirty)).toEqual(normalised(written));
    expect(changed(await all(client, DIRTY_ALSO))).toEqual(
      normalised([...written, { offset: GiB, length: 64 * KiB }]),
    );
    await client.close();
  }
  expect(await fileDigest(image), 'Asking must never touch the source').toBe(digest);
});

test('any part of the disk may be asked for, and the runs are clamped to it', async () => {
  await using server = await startQemuNbd(image, 'qcow2', ['-r', '-B', 'b0']);
  const client = await connectNbd({ uri: server.uri(), contexts: [DIRTY] });
  const from = 64 * MiB + 1;
  expect(await all(client, DIRTY, from, 2 * MiB)).toEqual([
    { offset: from, length: MiB + 192 * KiB - 1, flags: STATE_DIRTY },
    { offset: 65 * MiB + 192 * KiB, length: 832 * KiB + 1, flags: 0 },
  ]);
  expect(await all(client, DIRTY, SIZE - 1, 1)).toEqual([
    { offset: SIZE - 1, length: 1, flags: STATE_DIRTY },
  ]);
  expect(await all(client, DIRTY, SIZE, 0)).toEqual([]);
  await client.close();
});

test('a bitmap of an export of qemu-storage-daemon is found by its name', async () => {
  await using server = await startServer('qemu-storage-daemon', [
    `--blockdev=driver=file,node-name=file0,filename=${image},read-only=on`,
    '--blockdev=driver=qcow2,node-name=disk0,file=file0,read-only=on',
    '--nbd-server=addr.type=unix,addr.path={socket}',
    '--export=type=nbd,id=a,node-name=disk0,name=vda,bitmaps.0=b0',
    '--pidfile={pidfile}',
  ]);
  const client = await connectNbd({ uri: server.uri('vda'), contexts: ['base:allocation', DIRTY] });
  expect(client.contexts).toEqual(['base:allocation', DIRTY]);
  expectWhole(await all(client, 'base:allocation'), 0, SIZE);
  const dirty = (await all(client, DIRTY)).filter(({ flags }) => flags === STATE_DIRTY);
  expect(normalised(dirty)).toEqual(normalised(written));
  await client.close();
});

test('an empty disk of 8 TiB is one run', async () => {
  const path = join(folder.path, 'empty.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(8 * TiB)]);
  await using server = await startQemuNbd(path, 'qcow2');
  const client = await connectNbd({ uri: server.uri(), contexts: ['base:allocation'] });
  expect(await all(client, 'base:allocation')).toEqual([
    { offset: 0, length: 8 * TiB, flags: STATE_HOLE | STATE_ZERO },
  ]);
  await client.close();
});

test('a disk in more pieces than a server tells at once is covered to its end', async () => {
  await using server = await startNbdkit(
    'sparse-random',
    `size=${2 * GiB}`,
    'seed=5',
    'percent=20',
    'runlength=16384',
  );
  const client = await connectNbd({ uri: server.uri(), contexts: ['base:allocation'] });
  const extents = await all(client, 'base:allocation');
  expectWhole(extents, 0, 2 * GiB);
  expect(extents.length).toBeGreaterThan(10_000);
  // What is said to be zero must be zero: a look at some of it.
  const zero = extents.filter(({ flags }) => (flags & STATE_ZERO) !== 0).slice(0, 20);
  for (const { offset, length } of zero) {
    const bytes = new Uint8Array(length).fill(1);
    await client.read(offset, length, bytes);
    expect(bytes.some((byte) => byte !== 0)).toBe(false);
  }
  await client.close();
});

test('a server that answers one short run at a time is asked until it has told all', async () => {
  await using server = await startNbdkit(
    'eval',
    'get_size=echo 20000',
    'pread=head -c $3 /dev/zero',
    'can_extents=exit 0',
    // Arguments: handle, count, offset. Every second thousand bytes are a hole.
    'extents=echo $(( $4 / 1000 * 1000 )) 1000 $(( $4 / 1000 % 2 * 3 ))',
  );
  const client = await connectNbd({ uri: server.uri(), contexts: ['base:allocation'] });
  const extents = await all(client, 'base:allocation');
  expectWhole(extents, 0, 20_000);
  expect(extents).toHaveLength(20);
  expect(extents[1]).toEqual({ offset: 1000, length: 1000, flags: STATE_HOLE | STATE_ZERO });
  await client.close();
});

test('a context that was not granted is refused in words, before anything is asked', async () => {
  await using server = await startNbdkit('--no-sr', 'memory', 'size=1M');
  const client = await connectNbd({ uri: server.uri(), contexts: ['base:allocation'] });
  expect(client.contexts).toEqual([]);
  await expect(all(client, 'base:allocation')).rejects.toMatchObject({
    message: expect.stringContaining('does not offer the metadata context base:allocation'),
    code: 'ENOTSUP',
    permanent: true,
  });
  await client.close();
});
