/** The way back: writing through real servers, checked by reading the image that they leave behind. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KiB, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectNbd } from './connect.ts';
import { patternedBytes, writeRawImage } from './testing/images.ts';
import { memoryExport } from './testing/memory-export.ts';
import { type Folder, run, startNbdkit, startQemuNbd, temporaryFolder } from './testing/servers.ts';
import { serving } from './testing/serving.ts';

const SIZE = 16 * MiB;
let folder: Folder;
beforeAll(async () => {
  folder = await temporaryFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

/** Writes, zeroes and trims in many places at once; answers what the disk must hold then. */
async function writeEverything(uri: string, before: Uint8Array): Promise<Uint8Array> {
  const expected = before.slice();
  const client = await connectNbd({ uri, requestBytes: 128 * KiB });
  expect(client.readOnly).toBe(false);
  const writes = [
    { offset: 0, bytes: patternedBytes(3 * MiB, 11) },
    { offset: 5 * MiB + 512, bytes: patternedBytes(512, 12) },
    { offset: SIZE - 6 * MiB, bytes: patternedBytes(6 * MiB, 13) },
  ];
  await Promise.all(writes.map(({ offset, bytes }) => client.write(offset, bytes)));
  for (const { offset, bytes } of writes) expected.set(bytes, offset);
  await client.write(4 * MiB, patternedBytes(64 * KiB, 14), { fua: true });
  expected.set(patternedBytes(64 * KiB, 14), 4 * MiB);
  for (const [offset, length, mayTrim] of [
    [MiB, 256 * KiB, true],
    [SIZE - MiB, MiB, false],
  ] as const) {
    await client.writeZeroes(offset, length, { mayTrim });
    expected.fill(0, offset, offset + length);
  }
  await client.flush();
  const back = new Uint8Array(SIZE);
  await client.read(0, SIZE, back);
  expect(Buffer.compare(back, expected)).toBe(0);
  await client.close();
  return expected;
}

test('what is written through qemu-nbd is in the raw image afterwards, byte for byte', async () => {
  const path = join(folder.path, 'target.raw');
  const before = await writeRawImage(path, SIZE, [{ offset: MiB, bytes: patternedBytes(2 * MiB, 1) }]);
  let expected: Uint8Array;
  {
    await using server = await startQemuNbd(path, 'raw', []);
    expected = await writeEverything(server.uri(), before);
  }
  expect(Buffer.compare(await readFile(path), expected)).toBe(0);
});

test('what is written into an empty qcow2 image is there, and zeroes take no room', async () => {
  const path = join(folder.path, 'target.qcow2');
  const raw = join(folder.path, 'converted.raw');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(SIZE)]);
  {
    await using server = await startQemuNbd(path, 'qcow2', ['--discard=unmap']);
    const client = await connectNbd({ uri: server.uri() });
    await client.write(0, patternedBytes(4 * MiB, 3));
    await client.trim(2 * MiB, MiB);
    await client.writeZeroes(8 * MiB, 8 * MiB, { mayTrim: true });
    await client.flush();
    await client.close();
  }
  await run('qemu-img', ['convert', '-O', 'raw', path, raw]);
  const expected = new Uint8Array(SIZE);
  expected.set(patternedBytes(4 * MiB, 3));
  expected.fill(0, 2 * MiB, 3 * MiB);
  expect(Buffer.compare(await readFile(raw), expected)).toBe(0);
  const { stdout } = await run('qemu-img', ['info', '--output=json', path]);
  expect(JSON.parse(stdout)).toMatchObject({
    'actual-size': expect.toSatisfy((size: number) => size < 5 * MiB),
  });
});

test('a server without write zeroes and FUA is given zeroes as data, and a flush', async () => {
  await using server = await startNbdkit(
    '--filter=nozero',
    '--filter=fua',
    '--no-sr',
    'memory',
    `size=${SIZE}`,
  );
  await writeEverything(server.uri(), new Uint8Array(SIZE));
});

test('a read-only export refuses every change before anything is sent', async () => {
  await using server = await startNbdkit('-r', 'memory', 'size=1M');
  const client = await connectNbd({ uri: server.uri() });
  expect(client.readOnly).toBe(true);
  const refused = { code: 'EPERM', permanent: true };
  await expect(client.write(0, new Uint8Array(512))).rejects.toMatchObject(refused);
  await expect(client.writeZeroes(0, 512)).rejects.toMatchObject(refused);
  await client.close();
});

test('a write off the blocks of the server is refused in words, and nothing around it is touched', async () => {
  await using server = await startNbdkit(
    '--filter=blocksize-policy',
    'memory',
    'size=1M',
    'blocksize-minimum=4096',
    'blocksize-error-policy=error',
  );
  const client = await connectNbd({ uri: server.uri() });
  await expect(client.write(512, new Uint8Array(512))).rejects.toMatchObject({
    code: 'Unaligned',
    permanent: true,
  });
  await client.write(4096, new Uint8Array(4096).fill(1));
  await client.close();
});

test('a full disk fails the write that met it, with the error of the server', async () => {
  await using server = await startNbdkit('full', 'size=1M');
  const client = await connectNbd({ uri: server.uri() });
  await expect(client.write(0, new Uint8Array(4096))).rejects.toMatchObject({
    code: 'ENOSPC',
    permanent: false,
  });
  const bytes = new Uint8Array(4096).fill(1);
  await client.read(0, 4096, bytes);
  expect(bytes).toEqual(new Uint8Array(4096));
  await client.close();
});

test('a write is cut at the largest payload that the server takes', async () => {
  await using server = await startNbdkit(
    '--filter=blocksize-policy',
    'memory',
    'size=4M',
    'blocksize-maximum=65536',
    'blocksize-error-policy=error',
  );
  const client = await connectNbd({ uri: server.uri(), requestBytes: MiB });
  expect(client.blockSize.maximumPayload).toBe(65_536);
  const bytes = patternedBytes(2 * MiB + 512, 21);
  await client.write(MiB, bytes);
  const back = new Uint8Array(bytes.length);
  await client.read(MiB, bytes.length, back);
  expect(Buffer.compare(back, bytes)).toBe(0);
  await client.close();
});

test('writes travel side by side as far as the window goes, and the rest waits for its turn', async () => {
  const gate = Promise.withResolvers<void>();
  const full = Promise.withResolvers<void>();
  const atWork = { now: 0, most: 0 };
  const disk = memoryExport('d', new Uint8Array(4 * MiB));
  const { write } = disk;
  disk.write = async (offset, data) => {
    atWork.now += 1;
    atWork.most = Math.max(atWork.most, atWork.now);
    if (atWork.now === 4) full.resolve();
    await gate.promise;
    await write?.(offset, data);
    atWork.now -= 1;
  };
  const served = await serving([disk]);
  const client = await connectNbd({ uri: served.uri('d'), requestBytes: 64 * KiB, windowRequests: 4 });
  const bytes = patternedBytes(2 * MiB, 22);
  const written = client.write(MiB, bytes);
  await full.promise;
  gate.resolve();
  await written;
  expect(atWork.most).toBe(4);
  expect(Buffer.compare(disk.content.subarray(MiB, 3 * MiB), bytes)).toBe(0);
  await client.close();
});

test('a server that stands still in the middle of writes ends them all in time', async () => {
  const path = join(folder.path, 'stopped.raw');
  await writeRawImage(path, SIZE, []);
  await using server = await startQemuNbd(path, 'raw', []);
  const client = await connectNbd({ uri: server.uri(), requestMilliseconds: 300 });
  await server.signal('SIGSTOP');
  const writes = [0, 4, 8].map((at) => client.write(at * MiB, patternedBytes(4 * MiB, at)));
  for (const { status, reason } of (await Promise.allSettled(writes)) as PromiseRejectedResult[])
    expect({ status, reason }).toMatchObject({ status: 'rejected', reason: { code: 'TimedOut' } });
  await client.close();
});

test('a server that knows no flush is never taken to have flushed', async () => {
  const { flush: _, ...disk } = memoryExport('d', new Uint8Array(MiB));
  const served = await serving([disk]);
  const client = await connectNbd({ uri: served.uri('d') });
  expect(client.canFlush).toBe(false);
  const refused = { code: 'ENOTSUP', permanent: true };
  await expect(client.flush()).rejects.toMatchObject(refused);
  await client.write(0, new Uint8Array(512).fill(7));
  await expect(client.write(0, new Uint8Array(512), { fua: true })).rejects.toMatchObject(refused);
  expect(disk.content[0]).toBe(7);
  await client.close();
});
