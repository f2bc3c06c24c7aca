/** The worst day and the look before it: a repository, and no Backhaul anywhere. The command as a process, the real tools as its clients. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, MiB } from '@backhaul/kernel';
import { openRepository, overlay, type Repository, type Segment } from '@backhaul/repository';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';

const MAIN = new URL('./main.ts', import.meta.url).pathname;
const run = promisify(execFile);

const FULL = '11111111-0000-5000-8000-000000000001';
const INCREMENTAL = '22222222-0000-5000-8000-000000000002';
const OTHER = '33333333-0000-5000-8000-000000000003';

let folder: string;
let repository: string;
let temporary: string;
let environment: NodeJS.ProcessEnv;
/** What each disk held. */
const contents = new Map<string, Buffer>();

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function put(store: Repository, content: Uint8Array, pieceBytes = 4 * MiB): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (let offset = 0; offset < content.length; offset += pieceBytes) {
    const piece = content.subarray(offset, offset + pieceBytes);
    const { digest } = await store.putChunk(piece);
    segments.push({ offset, length: piece.length, digest, chunkOffset: 0 });
  }
  return segments;
}

/** A VM with a full and an incremental, and another with two disks. */
async function fillRepository(): Promise<void> {
  const store = await openRepository({ location: repository, workers: 1 });
  try {
    const disk = (diskId: string, sizeBytes: number, segments: AsyncIterable<Segment> | Segment[]) => ({
      ...{ diskId, sizeBytes, segments },
    });
    const full = Buffer.alloc(24 * MiB + 512);
    randomBytes(9 * MiB).copy(full, 0);
    randomBytes(MiB).copy(full, 17 * MiB);
    randomBytes(512).copy(full, 24 * MiB);
    contents.set(FULL, full);
    const point = { hostId: 'lab', vmId: 'web-1', parentBackupId: null, kind: 'full' } as const;
    const stored = await store.putManifest({
      ...{ ...point, backupId: FULL, takenAt: '2025-01-01T00:00:00Z' },
      disks: [disk('vda', full.length, await put(store, full))],
    });
    const changed = Buffer.from(full);
    randomBytes(64 * 1024).copy(changed, 5 * MiB);
    contents.set(INCREMENTAL, changed);
    const piece = changed.subarray(5 * MiB, 5 * MiB + 64 * 1024);
    const { digest } = await store.putChunk(piece);
    const [parent] = stored.manifest.disks;
    if (parent === undefined) throw new Error('a disk was put');
    const change = { offset: 5 * MiB, length: piece.length, digest, chunkOffset: 0 };
    await store.putManifest({
      ...{ ...point, backupId: INCREMENTAL, parentBackupId: FULL, kind: 'incremental' },
      takenAt: '2025-01-02T00:00:00Z',
      disks: [disk('vda', full.length, overlay(store.readSegments(parent), [change], full.length))],
    });
    const [vda, vdb] = [randomBytes(2 * MiB), randomBytes(MiB)];
    contents.set('vda', vda);
    contents.set('vdb', vdb);
    await store.putManifest({
      ...{ ...point, vmId: 'db', backupId: OTHER, takenAt: '2025-01-03T00:00:00Z' },
      disks: [disk('vda', 2 * MiB, await put(store, vda)), disk('vdb', MiB, await put(store, vdb))],
    });
  } finally {
    await store.close();
  }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-mount-'));
  repository = join(folder, 'repository');
  temporary = join(folder, 'tmp');
  await mkdir(temporary);
  await fillRepository();
  // Nobody answers at any of these.
  environment = {
    ...process.env,
    TMPDIR: temporary,
    BACKHAUL_STACK_FILE: join(folder, 'absent.json'),
    BACKHAUL_CONSOLE_URL: 'http://127.0.0.1:9',
    BACKHAUL_TRIGGER_URL: 'http://127.0.0.1:9',
    BACKHAUL_POSTGRES_URL: 'postgres://127.0.0.1:9/none',
    BACKHAUL_NATS_URL: 'nats://127.0.0.1:9',
  };
  delete environment.BACKHAUL_REPOSITORY;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  out: string;
  errors: string;
}

function start(location: string, ...args: string[]): Running {
  const child = spawn(process.execPath, [MAIN, ...args, '--repository', location], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const running: Running = { child, ended, out: '', errors: '' };
  child.stdout.on('data', (data) => (running.out += String(data)));
  child.stderr.on('data', (data) => (running.errors += String(data)));
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  });
  return running;
}

async function backhaul(...args: string[]): Promise<Running & { exitCode: number | null }> {
  const running = start(repository, ...args);
  const exitCode = await running.ended;
  expect(running.errors).not.toMatch(/\n\s+at .*:\d+/);
  return { ...running, exitCode };
}

/** A mount that serves, and its URIs by disk. */
async function mounted(
  location: string,
  ...args: string[]
): Promise<Running & { uris: Map<string, string> }> {
  const running = start(location, 'mount', ...args);
  await eventually('the mount to serve', 30_000, () => {
    if (running.child.exitCode !== null) throw new Error(running.errors);
    return running.errors.includes('Stop with Ctrl-C') ? true : undefined;
  });
  const uris = new Map(
    [...running.out.matchAll(/^(\S+) .* (nbd\S+)$/gm)].map(([, disk, uri]) => [disk ?? '', uri ?? '']),
  );
  return Object.assign(running, { uris });
}

async function stopped(running: Running, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  running.child.kill(signal);
  expect(await running.ended).toBe(0);
}

async function filesOf(location: string): Promise<string[]> {
  const entries = await readdir(location, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return await Promise.all(paths.sort().map(async (path) => `${path} ${(await stat(path)).mtimeMs}`));
}

test('with no service anywhere restore points are listed, found by VM and by id, and restored', async () => {
  const list = await backhaul('restore');
  expect(list.exitCode).toBe(0);
  expect(
    list.out
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/)),
  ).toEqual([
    ['BACKUP', 'HOST', 'VM', 'TAKEN (UTC)', 'KIND', 'DISKS'],
    ['33333333', 'lab', 'db', '2025-01-03 00:00:00', 'full', 'vda (2 MiB), vdb (1 MiB)'],
    ['22222222', 'lab', 'web-1', '2025-01-02 00:00:00', 'incremental', 'vda (24 MiB)'],
    ['11111111', 'lab', 'web-1', '2025-01-01 00:00:00', 'full', 'vda (24 MiB)'],
  ]);
  const points = JSON.parse((await backhaul('restore', '--json')).out).restorePoints;
  expect(points.map(({ backupId }: { backupId: string }) => backupId)).toEqual([OTHER, INCREMENTAL, FULL]);
  for (const [name, id] of [
    ['web-1', INCREMENTAL],
    ['lab/web-1', INCREMENTAL],
    ['1111', FULL],
  ] as const) {
    const target = join(folder, `${id}-${name.replace('/', '-')}.raw`);
    expect(await backhaul('restore', name, '--to', target)).toMatchObject({ exitCode: 0 });
    expect(sha256(await readFile(target))).toBe(sha256(contents.get(id) ?? Buffer.alloc(0)));
  }
  expect(await backhaul('restore', 'web-1')).toMatchObject({
    exitCode: 2,
    errors: expect.stringMatching(/--to/),
  });
  expect(await backhaul('restore', 'web-9', '--to', 'x')).toMatchObject({
    exitCode: 1,
    errors: expect.stringMatching(/no restore point web-9 .* "backhaul restore" lists/),
  });
});

test('a mounted disk is what a restore writes, in the eyes of libnbd and QEMU, and nothing is left of it', async () => {
  const before = await filesOf(repository);
  const restored = join(folder, 'compare.raw');
  await backhaul('restore', 'web-1', '--to', restored);
  const mount = await mounted(repository, 'web-1');
  expect(mount.errors).toMatch(/Backup 22222222 of web-1, as of 2025-01-02T00:00:00Z\. Read-only\./);
  const uri = mount.uris.get('vda') ?? '';
  const copy = join(folder, 'copy.raw');
  await run('nbdcopy', ['--connections=4', uri, copy]);
  expect(sha256(await readFile(copy))).toBe(sha256(await readFile(restored)));
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', restored, uri]);
  const info = JSON.parse((await run('nbdinfo', ['--json', uri])).stdout).exports[0];
  expect(info).toMatchObject({
    is_read_only: true,
    can_multi_conn: true,
    description: `disk vda of VM web-1 on lab as of 2025-01-02T00:00:00Z, backup ${INCREMENTAL}`,
  });
  const map = JSON.parse((await run('nbdinfo', ['--map', '--json', uri])).stdout);
  expect(map.filter(({ type }: { type: number }) => type === 3)).toEqual([
    { offset: 12 * MiB, length: 4 * MiB, type: 3, description: 'hole,zero' },
    { offset: 20 * MiB, length: 4 * MiB, type: 3, description: 'hole,zero' },
  ]);
  await stopped(mount);
  expect(await readdir(temporary)).toEqual([]);
  expect(await filesOf(repository)).toEqual(before);
});

test('every disk is an export by its id, over TCP as well, or the one that was named', async () => {
  const mount = await mounted(repository, 'db', '--port', '0');
  expect([...mount.uris.keys()]).toEqual(['vda', 'vdb']);
  for (const [diskId, uri] of mount.uris) {
    expect(uri).toMatch(new RegExp(`^nbd://127\\.0\\.0\\.1:\\d+/${diskId}$`));
    const copy = join(folder, `${diskId}.raw`);
    await run('nbdcopy', [uri, copy]);
    expect((await readFile(copy)).equals(contents.get(diskId) ?? Buffer.alloc(0))).toBe(true);
  }
  await stopped(mount, 'SIGINT');

  const socket = join(folder, 'own.sock');
  const one = await mounted(repository, 'db', '--disk', 'vdb', '--socket', socket);
  expect([...one.uris]).toEqual([['vdb', `nbd+unix:///vdb?socket=${socket}`]]);
  expect((await run('nbdinfo', ['--size', `nbd+unix:///?socket=${socket}`])).stdout.trim()).toBe(String(MiB));
  await stopped(one);
  await expect(stat(socket)).rejects.toThrow('ENOENT');
});

test('a damaged chunk is an error of the reads that need it, named in the log by digest, disk and offset', async () => {
  const copy = join(folder, 'damaged');
  await run('cp', ['-a', repository, copy]);
  const digest = sha256((contents.get(FULL) ?? Buffer.alloc(0)).subarray(4 * MiB, 8 * MiB));
  const path = join(copy, 'chunks', digest.slice(0, 2), digest);
  const bytes = await readFile(path);
  bytes.writeUInt8((bytes.at(5000) ?? 0) ^ 1, 5000);
  await writeFile(path, bytes);
  const mount = await mounted(copy, FULL);
  const uri = mount.uris.get('vda') ?? '';
  const read = await run('qemu-io', ['-f', 'raw', '-r', '-c', 'read 6M 4k', uri]).catch((error) => error);
  expect(`${read.stdout}${read.stderr}`).toMatch(/Input\/output error/);
  await run('qemu-io', ['-f', 'raw', '-r', '-c', 'read 0 4M', '-c', 'read 8M 8M', uri]);
  await expect(run('nbdcopy', [uri, join(folder, 'never.raw')])).rejects.toThrow();
  expect(mount.errors).toContain(
    `Chunk ${digest} at offset ${6 * MiB} of disk vda of backup ${FULL} cannot be read: Chunk ${digest} is damaged`,
  );
  await stopped(mount);
});

test('what is written is read back, kept as a raw file when asked, and never in the repository', async () => {
  const before = await filesOf(repository);
  const target = join(folder, 'kept.raw');
  const mount = await mounted(repository, 'web-1', '--writable', '--keep', target);
  const uri = mount.uris.get('vda') ?? '';
  const writes = ['write -P 0x77 1M 300k', 'write -P 0x55 16777000 512', 'write -z 8M 64k', 'flush'];
  await run('qemu-io', ['-f', 'raw', ...writes.flatMap((each) => ['-c', each]), uri]);
  const reads = ['read -P 0x77 1M 300k', 'read -P 0x55 16777000 512', 'read -P 0 8M 64k'];
  const { stdout } = await run('qemu-io', ['-f', 'raw', ...reads.flatMap((each) => ['-c', each]), uri]);
  expect(stdout).not.toMatch(/verification failed/);
  const expected = Buffer.from(contents.get(INCREMENTAL) ?? Buffer.alloc(0));
  expected
    .fill(0x77, MiB, MiB + 300 * 1024)
    .fill(0x55, 16_777_000, 16_777_512)
    .fill(0, 8 * MiB, 8 * MiB + 65_536);
  const copy = join(folder, 'written.raw');
  await run('nbdcopy', ['--connections=4', uri, copy]);
  expect((await readFile(copy)).equals(expected)).toBe(true);
  await stopped(mount, 'SIGINT');
  expect((await readFile(target)).equals(expected)).toBe(true);
  expect(mount.errors).toMatch(/is kept as .*kept\.raw: 24 MiB, .* of it data\./);
  expect(await readdir(temporary)).toEqual([]);
  expect(await filesOf(repository)).toEqual(before);
  expect((await readdir(folder)).filter((name) => /overlay|partial/.test(name))).toEqual([]);
  expect(await backhaul('mount', 'web-1', '--writable', '--keep', target)).toMatchObject({
    exitCode: 2,
    errors: expect.stringMatching(/kept\.raw exists/),
  });
});

test('a mount that is killed leaves its socket at most, which the next one names and removes', async () => {
  const killed = await mounted(repository, 'web-1', '--writable');
  await run('qemu-io', ['-f', 'raw', '-c', 'write 0 1M', killed.uris.get('vda') ?? '']);
  killed.child.kill('SIGKILL');
  await killed.ended;
  const left = await readdir(temporary);
  expect(left).toEqual([expect.stringMatching(/^backhaul-mount-/)]);
  const place = join(temporary, left[0] ?? '');
  expect(await readdir(place)).toEqual(['nbd.sock']);
  // As it will be when somebody comes back.
  await utimes(place, new Date(0), new Date(0));
  const next = await mounted(repository, 'web-1');
  expect(next.errors).toContain(`${place} was left by a mount that was killed, and is removed.`);
  await stopped(next);
  expect(await readdir(temporary)).toEqual([]);
});

test('what cannot be understood ends with code 2 and says what to write', async () => {
  const wrong = async (...args: string[]): Promise<string> => {
    const { exitCode, errors } = await backhaul('mount', ...args);
    expect(exitCode).toBe(2);
    return errors;
  };
  expect(await wrong('web-1', '--port', '1', '--socket', 'x')).toMatch(/exclude each other/);
  expect(await wrong('web-1', '--keep', 'x')).toMatch(/--writable/);
  expect(await wrong('web-1', '--disk', 'vdz')).toMatch(/has no disk vdz, only: vda/);
  expect(await wrong('web-1', '--cache', 'lots')).toMatch(/no size/);
  expect(await wrong('web-1', '--port', 'x')).toMatch(/port from 0 to 65535/);
  expect(await wrong('db', '--writable', '--keep', join(folder, 'one.raw'))).toMatch(/has 2 disks/);
});
