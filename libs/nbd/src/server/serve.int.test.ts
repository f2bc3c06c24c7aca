/** Our server with our own client: every byte right, every failure in words, and an orderly end. */
import { existsSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { describeError, eventually, Fault, KiB, MiB, TiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { STATE_HOLE, STATE_ZERO } from '../client.ts';
import { connectNbd } from '../connect.ts';
import { patternedBytes } from '../testing/images.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import { serving } from '../testing/serving.ts';
import type { NbdExport } from './export.ts';
import { serveNbd } from './serve.ts';

/** Data, a hole, data with a hole inside, and an end that fills no block. */
function sampleContent(): Uint8Array {
  const content = new Uint8Array(3 * MiB + 777);
  content.set(patternedBytes(MiB, 1));
  content.set(patternedBytes(64 * KiB, 2), 2 * MiB + 4096);
  content.set(patternedBytes(777, 3), 3 * MiB);
  return content;
}

test('what is read is what is there, by one connection and by several', async () => {
  const content = sampleContent();
  const { server, uri } = await serving([
    readOnlyExport('vda', content),
    readOnlyExport('vdb', new Uint8Array(512)),
  ]);
  const clients = await Promise.all(
    [1, 2, 3].map(() => connectNbd({ uri: uri('vda'), requestBytes: 96 * KiB })),
  );
  for (const client of clients) {
    expect(client).toMatchObject({ sizeBytes: content.length, readOnly: true, canMultiConnect: true });
    const target = new Uint8Array(content.length).fill(1);
    await client.read(0, content.length, target);
    expect(Buffer.compare(target, content)).toBe(0);
    const middle = new Uint8Array(5001);
    await client.read(MiB - 2000, 5001, middle);
    expect(Buffer.compare(middle, content.subarray(MiB - 2000, MiB + 3001))).toBe(0);
  }
  expect(server.connections).toBe(3);
  await Promise.all(clients.map((client) => client.close()));
  await eventually('everybody to be gone', 5000, () => (server.connections === 0 ? true : undefined));
});

test('extents are told as far as the client asks, and holes are holes', async () => {
  const { uri } = await serving([readOnlyExport('vda', sampleContent())]);
  const client = await connectNbd({ uri: uri('vda'), contexts: ['base:allocation', 'qemu:dirty-bitmap:x'] });
  expect(client.contexts).toEqual(['base:allocation']);
  const runs = await Array.fromAsync(client.blockStatus('base:allocation', 0, client.sizeBytes));
  const hole = STATE_HOLE | STATE_ZERO;
  expect(runs).toEqual([
    { offset: 0, length: MiB, flags: 0 },
    { offset: MiB, length: MiB + 4096, flags: hole },
    { offset: 2 * MiB + 4096, length: 64 * KiB, flags: 0 },
    { offset: 2 * MiB + 68 * KiB, length: MiB - 68 * KiB, flags: hole },
    { offset: 3 * MiB, length: 777, flags: 0 },
  ]);
  await client.close();
});

test('far into a disk of many terabytes offsets keep their last bits, and runs longer than an answer can say are told', async () => {
  const sizeBytes = 8 * TiB + 512;
  const data = 5 * TiB + 2 ** 32;
  const vast: NbdExport = {
    ...{ name: 'vda', sizeBytes, readOnly: true },
    // Every eight bytes hold their own offset.
    async read(offset, length) {
      const bytes = Buffer.alloc(length);
      for (let at = 0; at + 8 <= length; at += 8) bytes.writeBigUInt64BE(BigInt(offset + at), at);
      return [bytes];
    },
    async extents(offset, length) {
      if (offset >= data) return [{ length, isHole: false }];
      return [{ length: Math.min(length, data - offset), isHole: true }];
    },
  };
  const { uri } = await serving([vast]);
  const client = await connectNbd({ uri: uri('vda'), contexts: ['base:allocation'] });
  const bytes = Buffer.alloc(4096);
  for (const offset of [3 * TiB + 2 ** 32 + 8 * 12_345, sizeBytes - 4096]) {
    await client.read(offset, 4096, bytes);
    for (let at = 0; at < 4096; at += 8) expect(bytes.readBigUInt64BE(at)).toBe(BigInt(offset + at));
  }
  expect(await Array.fromAsync(client.blockStatus('base:allocation', 0, sizeBytes))).toEqual([
    { offset: 0, length: data, flags: STATE_HOLE | STATE_ZERO },
    { offset: data, length: sizeBytes - data, flags: 0 },
  ]);
  await client.close();
});

test('what is written over one connection is read over another, and a flush reaches the disk', async () => {
  const disk = memoryExport('vda', new Uint8Array(2 * MiB));
  const { uri } = await serving([disk]);
  const [one, two] = [await connectNbd({ uri: uri('vda') }), await connectNbd({ uri: uri('') })];
  expect(one).toMatchObject({ readOnly: false, canFlush: true, canTrim: true, canWriteZeroes: true });
  await one.write(4097, patternedBytes(MiB, 5));
  const back = new Uint8Array(MiB);
  await two.read(4097, MiB, back);
  expect(Buffer.compare(back, patternedBytes(MiB, 5))).toBe(0);
  await two.writeZeroes(8192, 4096);
  await two.trim(16_384, 4096);
  expect(disk.flushes).toBe(0);
  await two.flush();
  await one.write(0, new Uint8Array(10).fill(7), { fua: true });
  expect(disk.flushes).toBe(2);
  await one.read(0, 20_480, back);
  expect(Buffer.compare(back.subarray(0, 20_480), disk.content.subarray(0, 20_480))).toBe(0);
  expect(back.subarray(8192, 12_288).every((byte) => byte === 0)).toBe(true);
  await Promise.all([one.close(), two.close()]);
});

test('over TCP it listens where it was told, at a port that was free', async () => {
  const { server } = await serving([readOnlyExport('vda', sampleContent())], {
    listen: { kind: 'tcp', host: '127.0.0.1', port: 0 },
  });
  expect(server.uri).toMatch(/^nbd:\/\/127\.0\.0\.1:[1-9]\d+$/);
  const client = await connectNbd({ uri: server.uri });
  await client.read(0, 10, new Uint8Array(10));
  await client.close();
});

test('a disk that fails fails that request alone, in its own words, and the log names it', async () => {
  const good = memoryExport('vda', new Uint8Array(MiB));
  const failing: NbdExport = {
    ...good,
    async read(offset, length, take) {
      if (offset >= 512 * KiB) throw new Fault('chunk abc is damaged', { permanent: true });
      return good.read(offset, length, take);
    },
    async write() {
      throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    },
  };
  const { uri, lines } = await serving([failing]);
  const client = await connectNbd({ uri: uri('vda') });
  const error = await client.read(512 * KiB, 4096, new Uint8Array(4096)).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'EIO' });
  expect(describeError(error)).toContain('chunk abc is damaged');
  await expect(client.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ENOSPC' });
  await client.read(0, 4096, new Uint8Array(4096));
  expect(lines).toEqual([
    'Reading 4096 bytes at offset 524288 of export vda failed: chunk abc is damaged',
    'Writing 512 bytes at offset 0 of export vda failed: no space left',
  ]);
  await client.close();
});

test('a disk that hands over too little is an error and not wrong bytes', async () => {
  const short = readOnlyExport('vda', new Uint8Array(MiB), { read: async () => [new Uint8Array(100)] });
  const { uri } = await serving([short]);
  const client = await connectNbd({ uri: uri('vda') });
  await expect(client.read(0, 4096, new Uint8Array(4096))).rejects.toMatchObject({ code: 'EIO' });
  await client.close();
});

describe('where it listens', () => {
  test('the socket is for its owner alone, and gone when the server is', async () => {
    const { server, socketPath } = await serving([readOnlyExport('vda', new Uint8Array(512))]);
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
    await server.close();
    await server.close();
    expect(existsSync(socketPath)).toBe(false);
  });

  test('the socket file of a server that was killed is taken over, one that is alive and any other file are not', async () => {
    const exports = [readOnlyExport('vda', new Uint8Array(512))];
    const { socketPath } = await serving(exports);
    const listen = { kind: 'unix', socketPath } as const;
    await expect(serveNbd({ exports, listen })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const other = { kind: 'unix', socketPath: `${socketPath}.txt` } as const;
    await writeFile(other.socketPath, 'precious');
    await expect(serveNbd({ exports, listen: other })).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(
      serveNbd({ exports, listen: { kind: 'unix', socketPath: '/nowhere/nbd.sock' } }),
    ).rejects.toThrow('Listening at unix:/nowhere/nbd.sock failed');
  });

  test('closing answers what is in flight, and leaves nobody waiting', async () => {
    const content = patternedBytes(MiB, 1);
    const gate = Promise.withResolvers<void>();
    const disk = readOnlyExport('vda', content);
    const slow: NbdExport = {
      ...disk,
      async read(offset, length, take) {
        await gate.promise;
        return await disk.read(offset, length, take);
      },
    };
    const { server, uri } = await serving([slow]);
    const client = await connectNbd({ uri: uri('vda') });
    const target = new Uint8Array(MiB);
    const reading = client.read(0, MiB, target);
    const idle = await connectNbd({ uri: uri('vda') });
    const closing = server.close();
    gate.resolve();
    await reading;
    expect(Buffer.compare(target, content)).toBe(0);
    await closing;
    await expect(idle.read(0, 1, new Uint8Array(1))).rejects.toMatchObject({ code: 'ConnectionLost' });
    await Promise.all([client.close(), idle.close()]);
  });
});
