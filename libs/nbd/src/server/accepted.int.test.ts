/** Programs that others wrote find our server right: libnbd's and QEMU's, reading and writing. */
import { join } from 'node:path';
import { KiB, MiB } from '@backhaul/kernel';
import { expect, onTestFinished, test } from 'vitest';
import { fileDigest, patternedBytes, writeRawImage } from '../testing/images.ts';
import { memoryExport, readOnlyExport } from '../testing/memory-export.ts';
import { run, temporaryFolder } from '../testing/servers.ts';
import type { NbdExport } from './export.ts';
import { serveNbd } from './serve.ts';

async function folderOfTest(): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  return folder.path;
}

async function uriOf(folder: string, ...exports: NbdExport[]): Promise<string> {
  const server = await serveNbd({ exports, listen: { kind: 'unix', socketPath: join(folder, 'nbd.sock') } });
  onTestFinished(() => server.close());
  return server.uri;
}

const SIZE = 24 * MiB + 512;
const data = [
  { offset: 0, bytes: patternedBytes(5 * MiB, 1) },
  { offset: 9 * MiB + 64 * KiB, bytes: patternedBytes(MiB, 2) },
  { offset: SIZE - 512, bytes: patternedBytes(512, 3) },
];

test('nbdinfo reads the size, the flags, the list and the map', async () => {
  const folder = await folderOfTest();
  const content = await writeRawImage(join(folder, 'disk.raw'), SIZE, data);
  const uri = await uriOf(folder, readOnlyExport('vda', content));
  const { stdout } = await run('nbdinfo', ['--json', uri]);
  expect(JSON.parse(stdout)).toMatchObject({
    protocol: 'newstyle-fixed',
    structured: true,
    exports: [
      {
        'export-size': SIZE,
        block_size_minimum: 1,
        block_size_preferred: 4096,
        block_size_maximum: 32 * MiB,
        is_read_only: true,
        can_multi_conn: true,
        can_df: true,
        can_fast_zero: false,
        contexts: ['base:allocation'],
      },
    ],
  });
  const map = await run('nbdinfo', ['--map', '--json', uri]);
  expect(JSON.parse(map.stdout)).toEqual([
    { offset: 0, length: 5 * MiB, type: 0, description: 'data' },
    { offset: 5 * MiB, length: 4 * MiB + 64 * KiB, type: 3, description: 'hole,zero' },
    { offset: 9 * MiB + 64 * KiB, length: MiB, type: 0, description: 'data' },
    { offset: 10 * MiB + 64 * KiB, length: 14 * MiB - 64 * KiB, type: 3, description: 'hole,zero' },
    { offset: SIZE - 512, length: 512, type: 0, description: 'data' },
  ]);
});

test('nbdinfo lists several exports', async () => {
  const folder = await folderOfTest();
  const exports = ['vda', 'vdb'].map((name) => readOnlyExport(name, new Uint8Array(MiB)));
  const { stdout } = await run('nbdinfo', ['--list', '--json', await uriOf(folder, ...exports)]);
  expect(JSON.parse(stdout).exports.map((each: { 'export-name': string }) => each['export-name'])).toEqual([
    'vda',
    'vdb',
  ]);
});

test('nbdcopy brings the whole disk over several connections, and back', async () => {
  const folder = await folderOfTest();
  const raw = join(folder, 'disk.raw');
  const content = await writeRawImage(raw, SIZE, data);
  const target = memoryExport('target', new Uint8Array(SIZE));
  const uri = await uriOf(folder, readOnlyExport('vda', content), target);
  const copy = join(folder, 'copy.raw');
  const source = uri.replace('///', '///vda');
  await run('nbdcopy', ['--connections=4', source, copy]);
  expect(await fileDigest(copy)).toBe(await fileDigest(raw));
  await run('nbdcopy', ['--connections=4', '--flush', raw, uri.replace('///', '///target')]);
  expect(Buffer.compare(target.content, content)).toBe(0);
  expect(target.flushes).toBeGreaterThan(0);
});

test('qemu-img reads, compares and converts it', async () => {
  const folder = await folderOfTest();
  const raw = join(folder, 'disk.raw');
  const content = await writeRawImage(raw, SIZE, data);
  const uri = await uriOf(folder, readOnlyExport('vda', content));
  const info = JSON.parse((await run('qemu-img', ['info', '--output=json', uri])).stdout);
  expect(info).toMatchObject({ 'virtual-size': SIZE, format: 'raw' });
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', raw, uri]);
  const qcow2 = join(folder, 'disk.qcow2');
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, qcow2]);
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2]);
});

test('qemu-io writes, zeroes, discards and flushes, and reads back what it wrote', async () => {
  const folder = await folderOfTest();
  const disk = memoryExport('vda', patternedBytes(8 * MiB, 9).slice());
  const uri = await uriOf(folder, disk);
  const commands = [
    'write -P 0x11 0 1M',
    'write -P 0x22 -f 1M 512',
    'write -z 2M 1M',
    'write -zu 3M 64k',
    'discard 4M 1M',
    'flush',
    'read -P 0x11 0 1M',
    'read -P 0x22 1M 512',
    'read -P 0 2M 1M',
    'read -P 0 3M 64k',
  ];
  const args = commands.flatMap((command) => ['-c', command]);
  const { stdout } = await run('qemu-io', ['-f', 'raw', '-d', 'unmap', ...args, uri]);
  expect(stdout).not.toMatch(/fail|error/i);
  expect(disk.content.subarray(0, MiB).every((byte) => byte === 0x11)).toBe(true);
  expect(disk.content.subarray(4 * MiB, 5 * MiB).every((byte) => byte === 0)).toBe(true);
  expect(Buffer.compare(disk.content.subarray(6 * MiB), patternedBytes(8 * MiB, 9).subarray(6 * MiB))).toBe(
    0,
  );
  expect(disk.flushes).toBeGreaterThan(0);
});
