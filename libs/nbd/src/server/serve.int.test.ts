/** Our server with our own client, and with strangers: every byte right, every refusal in words, and nobody brings it down. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describeError, eventually, Fault, KiB, MiB } from '@backhaul/kernel';
import { describe, expect, onTestFinished, test } from 'vitest';
import { STATE_HOLE, STATE_ZERO } from '../client.ts';
import { connectNbd } from '../connect.ts';
import { COMMAND } from '../protocol/values.ts';
import * as say from '../testing/client-words.ts';
import { patternedBytes } from '../testing/images.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import { temporaryFolder } from '../testing/servers.ts';
import type { NbdExport } from './export.ts';
import { type NbdServer, type ServeOptions, serveNbd } from './serve.ts';

interface Served {
  readonly server: NbdServer;
  readonly lines: string[];
  readonly socketPath: string;
  uri(name: string): string;
}

/** On a Unix socket of the running test's own, until it ends. */
async function serving(exports: readonly NbdExport[], options: Partial<ServeOptions> = {}): Promise<Served> {
  const folder = await temporaryFolder();
  const socketPath = join(folder.path, 'nbd.sock');
  const lines: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const server = await serveNbd({ exports, listen: { kind: 'unix', socketPath }, log, ...options });
  onTestFinished(async () => {
    await server.close();
    await folder[Symbol.asyncDispose]();
  });
  return { server, lines, socketPath, uri: (name) => server.uri.replace('///', `///${name}`) };
}

/** A client that says what the test has it say. */
async function stranger(
  socketPath: string,
): Promise<{ socket: Socket; closed: Promise<unknown>; heard: Buffer[] }> {
  const socket = connect(socketPath);
  const heard: Buffer[] = [];
  socket.on('data', (bytes) => heard.push(bytes));
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return { socket, closed, heard };
}

/** Data, a hole, data with a hole inside, and an end that fills no block. */
function sampleContent(): Uint8Array {
  const content = new Uint8Array(3 * MiB + 777);
  content.set(patternedBytes(MiB, 1));
  content.set(patternedBytes(64 * KiB, 2), 2 * MiB + 4096);
  content.set(patternedBytes(777, 3), 3 * MiB);
  return content;
}

const greeted = say.clientFlags();
const toVda = Buffer.concat([greeted, say.option(8), say.option(7, say.infoAsked('vda'))]);

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

describe('strangers are answered or hung up on, and everybody else is served', () => {
  test.each([
    ['who speaks HTTP', [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')], 'client flags'],
    ['who sends garbage for a request', [toVda, Buffer.alloc(28, 0x5a)], 'a request began with 0x5a5a5a5a'],
    [
      'who announces a write of four gigabytes',
      [toVda, say.request({ command: COMMAND.write, length: 2 ** 32 - 1 })],
      'a write of 4294967295 bytes',
    ],
  ])('%s', async (_, words, why) => {
    const { socketPath, uri, lines } = await serving([memoryExport('vda', new Uint8Array(MiB))]);
    const client = await connectNbd({ uri: uri('vda') });
    const { socket, closed } = await stranger(socketPath);
    socket.write(Buffer.concat(words));
    await closed;
    expect(lines).toEqual([expect.stringContaining(why)]);
    await client.read(0, 4096, new Uint8Array(4096));
    await client.close();
  });

  test('who does not finish the handshake, however many there are', async () => {
    const { socketPath, uri, lines, server } = await serving([readOnlyExport('vda', new Uint8Array(512))], {
      limits: { handshakeMilliseconds: 100 },
      connectionsMax: 4,
    });
    const strangers = await Promise.all([1, 2, 3, 4].map(() => stranger(socketPath)));
    await Promise.all(strangers.map(({ closed }) => closed));
    expect(lines[0]).toBe('A client was hung up on: the handshake was not finished within 100 ms');
    await eventually('their places to be free', 5000, () => (server.connections === 0 ? true : undefined));
    await (await connectNbd({ uri: uri('vda') })).close();
  });

  test('who begins a write and leaves it at that; who rests between requests is left in peace', async () => {
    const { socketPath, lines } = await serving([memoryExport('vda', new Uint8Array(MiB))], {
      limits: { stallMilliseconds: 150, handshakeMilliseconds: 150 },
    });
    const resting = await stranger(socketPath);
    resting.socket.write(toVda);
    const { socket, closed } = await stranger(socketPath);
    socket.write(Buffer.concat([toVda, say.request({ command: COMMAND.write, length: 4096 })]));
    await closed;
    expect(lines).toEqual(['A client was hung up on: no byte of a request that was begun came for 150 ms']);
    const before = Buffer.concat(resting.heard).length;
    resting.socket.write(say.request({ command: COMMAND.flush }));
    await eventually('the flush to be answered', 5000, () =>
      Buffer.concat(resting.heard).length > before ? true : undefined,
    );
  });

  test('who is one too many', async () => {
    const { socketPath, uri, lines } = await serving([readOnlyExport('vda', new Uint8Array(512))], {
      connectionsMax: 1,
    });
    const client = await connectNbd({ uri: uri('vda') });
    const { closed } = await stranger(socketPath);
    await closed;
    expect(lines).toEqual(['A client was hung up on: 1 are served already']);
    await client.close();
  });

  test('who writes more than may be gets an error, and is understood afterwards', async () => {
    const disk = memoryExport('vda', new Uint8Array(MiB), {
      blockSize: { minimum: 1, preferred: 4096, maximumPayload: 64 * KiB },
    });
    const { socketPath } = await serving([disk]);
    const { socket, heard, closed } = await stranger(socketPath);
    const payload = patternedBytes(100 * KiB, 1);
    const tooMuch = say.request({ command: COMMAND.write, cookie: 7n, length: payload.length, payload });
    const read = say.request({ command: COMMAND.read, cookie: 8n, length: 512 });
    socket.write(Buffer.concat([toVda, tooMuch, read, say.request({ command: COMMAND.disconnect })]));
    await closed;
    const bytes = Buffer.concat(heard);
    const answers = say.chunkAnswers(bytes.subarray(bytes.indexOf(Buffer.from('668e33ef', 'hex'))));
    expect(answers.map(({ cookie, type }) => [cookie, type])).toEqual([
      [7n, 0x8001],
      [8n, 2],
    ]);
    expect(disk.content.every((byte) => byte === 0)).toBe(true);
  });

  test('who asks for everything and reads nothing: what is in flight is bounded', async () => {
    const disk = readOnlyExport('vda', patternedBytes(8 * MiB, 4));
    let reads = 0;
    const counting: NbdExport = {
      ...disk,
      read(offset, length, take) {
        reads += 1;
        return disk.read(offset, length, take);
      },
    };
    const { socketPath, uri } = await serving([counting], { limits: { requests: 8, bytes: 4 * MiB } });
    const { socket } = await stranger(socketPath);
    socket.pause();
    socket.write(toVda);
    for (let n = 0; n < 1000; n += 1)
      socket.write(say.request({ command: COMMAND.read, cookie: BigInt(n), length: MiB }));
    await eventually('reads to be under way', 5000, () => (reads >= 4 ? true : undefined));
    // Somebody else is served all the while.
    const client = await connectNbd({ uri: uri('vda') });
    for (let n = 0; n < 50; n += 1) await client.read(n * 1000, 1000, new Uint8Array(1000));
    await client.close();
    // Four of a mebibyte, one that the socket's own buffers took, and the fifty.
    expect(reads).toBeLessThan(60);
  });
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
