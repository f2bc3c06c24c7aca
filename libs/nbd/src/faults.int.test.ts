/** Servers that fail, die, stall or lie: a clear fault in time, never a hang, never a wrong byte. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describeError, Fault, isPermanent, KiB, MiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { connectNbd } from './connect.ts';
import { MAGIC, OPTION, OPTION_REPLY } from './protocol/values.ts';
import * as say from './testing/server-words.ts';
import { startNbdkit, startServer } from './testing/servers.ts';

/** The fault that this ends with. */
async function faultOf(work: Promise<unknown>): Promise<Fault> {
  const error = await work.then(
    () => new Error('It succeeded'),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Fault);
  return error as Fault;
}

describe('an error of the server fails the call that met it and nothing else', () => {
  test.each([
    ['with structured replies', []],
    ['with simple replies', ['--no-sr']],
  ])('%s', async (_, args) => {
    // The second megabyte cannot be read.
    await using server = await startNbdkit(
      ...args,
      'eval',
      'get_size=echo 4194304',
      'pread=[ $4 -ge 1048576 ] && [ $4 -lt 2097152 ] && { echo EIO bad sector >&2; exit 1; }; head -c $3 /dev/zero',
    );
    const client = await connectNbd({ uri: server.uri('vda'), requestBytes: 256 * KiB });
    const target = new Uint8Array(4 * MiB).fill(1);
    const [fault] = await Promise.all([
      faultOf(client.read(0, 4 * MiB, target)),
      client.read(2 * MiB, 512 * KiB, new Uint8Array(512 * KiB)),
    ]);
    expect(fault).toMatchObject({ code: 'EIO', permanent: false });
    expect(fault.message).toContain('Reading 4194304 bytes at offset 0 of export "vda" at unix:/');
    expect(describeError(fault)).toContain('The server answered EIO');
    await client.read(0, MiB, target);
    expect(target.subarray(0, MiB)).toEqual(new Uint8Array(MiB));
    await client.close();
  });

  test('now and then, by the error filter', async () => {
    await using server = await startNbdkit(
      '--filter=error',
      'pattern',
      'size=64M',
      'error-pread=ENOMEM',
      'error-pread-rate=20%',
    );
    const client = await connectNbd({ uri: server.uri() });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 60 }, async (_, i) => {
        const bytes = Buffer.alloc(4096);
        await client.read(i * MiB, 4096, bytes);
        expect(bytes.readBigUInt64BE(8)).toBe(BigInt(i * MiB + 8));
      }),
    );
    const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.length).toBeLessThan(60);
    for (const { reason } of failed) expect(reason).toMatchObject({ code: 'ENOMEM' });
    await client.close();
  });
});

describe('a server that goes away', () => {
  test('killed in the middle of a read: every call fails at once, and later ones too', async () => {
    await using server = await startNbdkit('--filter=delay', 'memory', 'size=64M', 'rdelay=60');
    const client = await connectNbd({ uri: server.uri('vda') });
    const reads = [0, 8 * MiB].map((offset) =>
      faultOf(client.read(offset, 4 * MiB, new Uint8Array(4 * MiB))),
    );
    await server.signal('SIGKILL');
    for (const fault of await Promise.all(reads)) {
      expect(fault).toMatchObject({ code: 'ConnectionLost', permanent: false });
      expect(isPermanent(fault)).toBe(false);
      expect(fault.message).toMatch(/^Reading 4194304 bytes at offset \d+ of export "vda" at unix:/);
    }
    expect(await faultOf(client.flush())).toMatchObject({ code: 'ConnectionLost' });
    await client.close();
    await client.close();
  });

  test('stopped: the time-out ends what waits, within its time', async () => {
    await using server = await startNbdkit('memory', 'size=64M');
    const client = await connectNbd({
      uri: server.uri(),
      requestMilliseconds: 300,
      contexts: ['base:allocation'],
    });
    await client.read(0, MiB, new Uint8Array(MiB));
    await server.signal('SIGSTOP');
    const started = performance.now();
    const faults = await Promise.all([
      faultOf(client.read(0, 32 * MiB, new Uint8Array(32 * MiB))),
      faultOf(client.blockStatus('base:allocation', 0, MiB)[Symbol.asyncIterator]().next()),
    ]);
    expect(performance.now() - started).toBeLessThan(3000);
    for (const fault of faults) {
      expect(fault).toMatchObject({ code: 'TimedOut', permanent: false });
      expect(describeError(fault)).toContain('The server made no progress for 300 ms');
    }
    await client.close();
  });

  test('not there: refused at once, with the reason of the system', async () => {
    const fault = await faultOf(connectNbd({ uri: 'nbd+unix:///vda?socket=/nowhere/nbd.sock' }));
    expect(fault).toMatchObject({ code: 'ENOENT', permanent: false });
    expect(describeError(fault)).toContain('Connecting to export "vda" at unix:/nowhere/nbd.sock failed');
  });

  test('without such an export: the server says so', async () => {
    await using server = await startServer('qemu-storage-daemon', [
      '--nbd-server=addr.type=unix,addr.path={socket}',
      '--pidfile={pidfile}',
    ]);
    const fault = await faultOf(connectNbd({ uri: server.uri('vda'), contexts: ['base:allocation'] }));
    expect(fault).toMatchObject({ code: 'UnknownExport' });
    expect(isPermanent(fault), 'the disk may be hot-added yet').toBe(false);
  });
});

test('a slow server that keeps answering is not timed out, however long the whole takes', async () => {
  await using server = await startNbdkit('--filter=delay', 'memory', 'size=1M', 'rdelay=100ms');
  const client = await connectNbd({
    uri: server.uri(),
    requestMilliseconds: 400,
    requestBytes: 64 * KiB,
    windowRequests: 1,
  });
  const started = performance.now();
  await client.read(0, 512 * KiB, new Uint8Array(512 * KiB));
  expect(performance.now() - started).toBeGreaterThan(700);
  await client.close();
});

describe('giving up from this side', () => {
  test('an abort ends connecting', async () => {
    await using silent = await startScripted(async () => {});
    const controller = new AbortController();
    const connecting = faultOf(connectNbd({ uri: silent.uri, signal: controller.signal }));
    controller.abort(new Error('the backup was cancelled'));
    expect(describeError(await connecting)).toContain('the backup was cancelled');
    expect(await faultOf(connectNbd({ uri: silent.uri, signal: controller.signal }))).toBeDefined();
  });

  test('an abort ends what is in flight', async () => {
    await using server = await startNbdkit('--filter=delay', 'memory', 'size=1M', 'rdelay=60');
    const controller = new AbortController();
    const client = await connectNbd({ uri: server.uri(), signal: controller.signal });
    const reading = faultOf(client.read(0, MiB, new Uint8Array(MiB)));
    controller.abort();
    expect(await reading).toMatchObject({ code: 'Aborted' });
    await client.close();
  });

  test('closing fails what is in flight, and what is asked later', async () => {
    await using server = await startNbdkit('--filter=delay', 'memory', 'size=1M', 'rdelay=60');
    const client = await connectNbd({ uri: server.uri() });
    const reading = faultOf(client.read(0, MiB, new Uint8Array(MiB)));
    await client.close();
    expect(await reading).toMatchObject({ code: 'Closed' });
    expect(await faultOf(client.read(0, 1, new Uint8Array(1)))).toMatchObject({ code: 'Closed' });
  });
});

interface Scripted extends AsyncDisposable {
  readonly uri: string;
}

/** A TCP server that says what the test has it say, and nothing else. */
async function startScripted(script: (socket: Socket) => Promise<void>): Promise<Scripted> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.resume();
    void script(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    uri: `nbd://127.0.0.1:${(server.address() as AddressInfo).port}/vda`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

const { go, structuredReply } = OPTION;
const handshakeWords = Buffer.concat([
  say.newstyleGreeting(),
  say.optionReply(structuredReply, OPTION_REPLY.ack),
  say.optionReply(go, OPTION_REPLY.info, say.infoExport(MiB, 1)),
  say.optionReply(go, OPTION_REPLY.ack),
]);

/** Shakes hands as it should, then says `words` in place of a reply to the first request. */
const startLiar = (words: Uint8Array, then: (socket: Socket) => void = () => {}) =>
  startScripted(async (socket) => {
    socket.write(handshakeWords);
    socket.on('data', (bytes) => {
      // The last 28 bytes of what arrives are a request, once the options are over.
      if (bytes.readUInt32BE(Math.max(0, bytes.length - 28)) !== MAGIC.request) return;
      socket.write(words);
      then(socket);
    });
  });

describe('a server that never gets to the point is left when the time is up', () => {
  test.each([
    ['silent from the start', Buffer.alloc(0)],
    ['silent after half a greeting', say.newstyleGreeting().subarray(0, 9)],
    ['silent before the last ACK', handshakeWords.subarray(0, -20)],
  ])('%s', async (_, words) => {
    await using server = await startScripted(async (socket) => void socket.write(words));
    const fault = await faultOf(connectNbd({ uri: server.uri, connectMilliseconds: 150 }));
    expect(fault).toMatchObject({ code: 'TimedOut' });
    expect(fault.message).toContain('export "vda" at 127.0.0.1:');
  });
});

describe('a server that hangs up or lies', () => {
  test.each([
    ['hangs up at once', Buffer.alloc(0)],
    ['hangs up before the last ACK', handshakeWords.subarray(0, -20)],
  ])('%s', async (_, words) => {
    await using server = await startScripted(async (socket) => void socket.end(words));
    expect(await faultOf(connectNbd({ uri: server.uri }))).toMatchObject({ code: 'ConnectionLost' });
  });

  test.each([
    ['greets in another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['goes on talking after the handshake', Buffer.concat([handshakeWords, say.simpleReply(1)])],
  ])('%s', async (_, words) => {
    await using server = await startScripted(async (socket) => void socket.write(words));
    const fault = await faultOf(connectNbd({ uri: server.uri }));
    expect(fault.code).toBe('NbdProtocolViolation');
    expect(isPermanent(fault)).toBe(true);
  });

  test('a port that first says what was meant for another is tried again for as long as was asked, and no longer', async () => {
    let clients = 0;
    await using server = await startScripted(async (socket) => {
      clients += 1;
      socket.write(clients <= 2 ? Buffer.alloc(64, 0x5a) : handshakeWords);
    });
    expect((await faultOf(connectNbd({ uri: server.uri }))).code).toBe('NbdProtocolViolation');
    const client = await connectNbd({ uri: server.uri, garbledMilliseconds: 5_000 });
    expect(clients).toBe(3);
    await client.close();
  });

  test.each([
    ['answers with garbage', Buffer.alloc(64, 0x5a)],
    ['answers somebody else', say.chunk(99, 1, 0)],
    ['sends an oversize chunk', say.chunk(1, 0, 1, Buffer.alloc(0), 0xffff_fff0)],
    ['sends a chunk outside of the request', say.chunk(1, 0, 1, say.data(4096, Buffer.alloc(10)))],
    ['claims success without data', say.chunk(1, 1, 0)],
  ])('%s: the connection ends with a permanent fault', async (_, words) => {
    await using server = await startLiar(words);
    const client = await connectNbd({ uri: server.uri });
    const fault = await faultOf(client.read(0, 4096, new Uint8Array(4096)));
    expect(fault.code).toBe('NbdProtocolViolation');
    expect(isPermanent(fault)).toBe(true);
    expect(await faultOf(client.read(0, 1, new Uint8Array(1)))).toMatchObject({
      code: 'NbdProtocolViolation',
    });
    await client.close();
  });

  test('sends half of a chunk and hangs up', async () => {
    const half = say.chunk(1, 1, 1, say.data(0, Buffer.alloc(4096))).subarray(0, 1000);
    await using server = await startLiar(half, (socket) => void socket.end());
    const client = await connectNbd({ uri: server.uri });
    expect(await faultOf(client.read(0, 4096, new Uint8Array(4096)))).toMatchObject({
      code: 'ConnectionLost',
    });
    await client.close();
  });

  test('forgets one request while it answers all others: the time-out finds it', async () => {
    await using server = await startScripted(async (socket) => {
      socket.write(handshakeWords);
      socket.on('data', (bytes) => {
        for (let at = bytes.indexOf(say.u32(MAGIC.request)); at >= 0 && at + 28 <= bytes.length; at += 28) {
          const [handle, offset] = [bytes.readUInt32BE(at + 12), bytes.readUInt32BE(at + 20)];
          if (offset !== 0) socket.write(say.chunk(handle, 1, 1, say.data(offset, Buffer.alloc(512))));
        }
      });
    });
    const client = await connectNbd({ uri: server.uri, requestMilliseconds: 200 });
    const forgotten = faultOf(client.read(0, 512, new Uint8Array(512)));
    // The connection is never silent for long, as long as it lives.
    const busy = (async (): Promise<never> => {
      for (;;) await client.read(4096, 512, new Uint8Array(512));
    })();
    expect(await faultOf(busy)).toMatchObject({ code: 'TimedOut' });
    expect(describeError(await forgotten)).toContain('no progress for 200 ms: Reading 512 bytes at offset 0');
    await client.close();
  });
});
