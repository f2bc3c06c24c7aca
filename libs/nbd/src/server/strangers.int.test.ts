/** Clients that lie, stall, flood or speak something else: hung up on or answered, and nobody else is touched. */
import { eventually, KiB, MiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { connectNbd } from '../connect.ts';
import { COMMAND } from '../protocol/values.ts';
import * as say from '../testing/client-words.ts';
import { patternedBytes } from '../testing/images.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import { serving, stranger } from '../testing/serving.ts';
import type { NbdExport } from './export.ts';

const greeted = say.clientFlags();
const toVda = Buffer.concat([greeted, say.option(8), say.option(7, say.infoAsked('vda'))]);

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
