/** Reading through real servers: every byte right, whatever the server's way of answering. */
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectNbd } from './connect.ts';
import { fileDigest, patternedBytes, writeRawImage } from './testing/images.ts';
import {
  type Folder,
  freePort,
  run,
  startNbdkit,
  startQemuNbd,
  startServer,
  temporaryFolder,
} from './testing/servers.ts';

const SIZE = 24 * MiB;
let folder: Folder;
let raw: string;
let qcow2: string;
let content: Uint8Array;
let digests: Record<string, string>;

beforeAll(async () => {
  folder = await temporaryFolder();
  raw = join(folder.path, 'disk.raw');
  qcow2 = join(folder.path, 'disk.qcow2');
  content = await writeRawImage(raw, SIZE, [
    { offset: 0, bytes: patternedBytes(3 * MiB + 65_536, 1) },
    { offset: 9 * MiB, bytes: patternedBytes(5 * MiB, 2) },
    { offset: 20 * MiB + 4096, bytes: patternedBytes(4 * MiB - 4096, 3) },
  ]);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
  digests = { raw: await fileDigest(raw), qcow2: await fileDigest(qcow2) };
});

afterAll(async () => {
  const now = { raw: await fileDigest(raw), qcow2: await fileDigest(qcow2) };
  await folder[Symbol.asyncDispose]();
  expect(now, 'Reading must never touch the source').toEqual(digests);
});

/** The whole disk in one call, and pieces of it at awkward places, through a connection with these settings. */
async function expectAllBytes(uri: string, settings: { requestBytes?: number; windowBytes?: number } = {}) {
  const client = await connectNbd({ uri, ...settings });
  try {
    expect(client.sizeBytes).toBe(SIZE);
    // What is left of an earlier use of the buffer must not shine through where the disk has a hole.
    const all = new Uint8Array(SIZE).fill(0xee);
    await client.read(0, SIZE, all);
    expect(Buffer.compare(all, content)).toBe(0);
    const pieces = [
      { offset: 1, length: 1 },
      { offset: 511, length: 2 },
      { offset: 3 * MiB - 7, length: 70_000 },
      { offset: 9 * MiB - 513, length: 2 * MiB + 1 },
      { offset: SIZE - 5, length: 5 },
      { offset: SIZE, length: 0 },
    ];
    await Promise.all(
      pieces.map(async ({ offset, length }) => {
        const piece = new Uint8Array(length).fill(0xee);
        await client.read(offset, length, piece);
        expect(Buffer.compare(piece, content.subarray(offset, offset + length)), `at ${offset}`).toBe(0);
      }),
    );
  } finally {
    await client.close();
  }
}

describe('every byte is read as it is on the disk', () => {
  test('from qemu-nbd serving raw', async () => {
    await using server = await startQemuNbd(raw, 'raw');
    await expectAllBytes(server.uri());
  });

  test('from qemu-nbd serving qcow2, in small requests and in large ones', async () => {
    await using server = await startQemuNbd(qcow2, 'qcow2');
    await expectAllBytes(server.uri(), { requestBytes: 4096 });
    await expectAllBytes(server.uri(), { requestBytes: 32 * MiB });
  });

  test('when one request is larger than the window', async () => {
    await using server = await startQemuNbd(raw, 'raw');
    await expectAllBytes(server.uri(), { requestBytes: MiB, windowBytes: 65_536 });
  });

  test('from one of several exports of qemu-storage-daemon', async () => {
    await using server = await startServer('qemu-storage-daemon', [
      `--blockdev=driver=file,node-name=file0,filename=${qcow2},read-only=on`,
      '--blockdev=driver=qcow2,node-name=disk0,file=file0,read-only=on',
      `--blockdev=driver=file,node-name=disk1,filename=${raw},read-only=on`,
      '--nbd-server=addr.type=unix,addr.path={socket},max-connections=4',
      '--export=type=nbd,id=a,node-name=disk0,name=web-1/vda',
      '--export=type=nbd,id=b,node-name=disk1,name=web-1/vdb ü',
      '--pidfile={pidfile}',
    ]);
    await expectAllBytes(server.uri('web-1/vda'));
    await expectAllBytes(server.uri('web-1/vdb ü'));
  });

  test('from nbdkit', async () => {
    await using server = await startNbdkit('-r', 'file', raw);
    await expectAllBytes(server.uri());
  });

  test('from a server without structured replies', async () => {
    await using server = await startNbdkit('--no-sr', '-r', 'file', raw);
    await expectAllBytes(server.uri());
  });

  test('from an oldstyle server', async () => {
    await using server = await startNbdkit('--oldstyle', '-r', 'file', raw);
    await expectAllBytes(server.uri());
  });

  test('from a newstyle server that knows no options, by EXPORT_NAME', async () => {
    await using server = await startNbdkit('--mask-handshake=0', '-r', 'file', raw);
    await expectAllBytes(server.uri());
  });

  test('from a server that takes whole blocks of 4 KiB and at most 64 KiB at once', async () => {
    await using server = await startNbdkit(
      '--filter=blocksize-policy',
      '-r',
      'file',
      raw,
      'blocksize-minimum=4096',
      'blocksize-maximum=65536',
      'blocksize-error-policy=error',
    );
    await expectAllBytes(server.uri());
  });

  test('when replies come late and out of order', async () => {
    await using server = await startNbdkit('--filter=delay', '-r', 'file', raw, 'rdelay=20ms');
    await expectAllBytes(server.uri());
  });

  test('over TCP', async () => {
    const port = await freePort();
    await using _server = await startServer('nbdkit', [
      '--foreground',
      '--ipaddr=127.0.0.1',
      `--port=${port}`,
      '--pidfile={pidfile}',
      '-r',
      'file',
      raw,
    ]);
    await expectAllBytes(`nbd://127.0.0.1:${port}`);
  });
});

test('a disk whose size is no multiple of 512 is read to its last byte', async () => {
  const path = join(folder.path, 'odd.raw');
  const odd = await writeRawImage(path, 100_003, [{ offset: 0, bytes: patternedBytes(100_003, 9) }]);
  await using server = await startNbdkit('-r', 'file', path);
  const client = await connectNbd({ uri: server.uri(), requestBytes: 4096 });
  expect(client.sizeBytes).toBe(100_003);
  const bytes = new Uint8Array(100_003);
  await client.read(0, bytes.length, bytes);
  expect(Buffer.compare(bytes, odd)).toBe(0);
  const tail = new Uint8Array(3);
  await client.read(100_000, 3, tail);
  expect(tail).toEqual(odd.subarray(100_000));
  await client.close();
});

test('far into a disk of many terabytes, offsets keep their last bits', async () => {
  await using server = await startNbdkit('pattern', 'size=7E');
  const client = await connectNbd({ uri: server.uri() }).catch((error: unknown) => error);
  // 7 EiB is more than a number holds exactly: refused rather than read at a wrong place.
  expect(client).toMatchObject({ code: 'NbdProtocolViolation' });

  await using smaller = await startNbdkit('pattern', 'size=4P');
  const pattern = await connectNbd({ uri: smaller.uri() });
  // Every eight bytes of this plugin's disk hold their own offset.
  const offset = 3 * 2 ** 50 + 2 ** 32 + 8 * 12_345;
  const bytes = Buffer.alloc(4096);
  await pattern.read(offset, 4096, bytes);
  for (let at = 0; at < 4096; at += 8) expect(bytes.readBigUInt64BE(at)).toBe(BigInt(offset + at));
  await pattern.close();
});
