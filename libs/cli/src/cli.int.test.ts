import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { consoleApi } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MAIN = new URL('./main.ts', import.meta.url).pathname;
const run = promisify(execFile);

let folder: string;
let image: string;
let environment: NodeJS.ProcessEnv;
let up: ChildProcess;
let upOutput = '';

interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly errors: string;
}

/** The command as a person runs it: a process of its own. No failure may show a stack trace. */
async function backhaul(...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let errors = '';
  child.stdout.on('data', (data) => (out += String(data)));
  child.stderr.on('data', (data) => (errors += String(data)));
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  expect(errors).not.toMatch(/\n\s+at .*:\d+/);
  return { exitCode, out, errors };
}

async function newest(): Promise<consoleApi.BackupView> {
  return JSON.parse((await backhaul('backups', '--json', '--limit', '1')).out)[0];
}

/** What the guest would read of its disk. */
async function contents(): Promise<Buffer> {
  const raw = join(folder, 'now.raw');
  await run('qemu-img', ['convert', '-U', '-O', 'raw', image, raw]);
  return await readFile(raw);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-cli-'));
  // PostgreSQL runs as another user, who has to walk through here.
  await chmod(folder, 0o711);
  const BACKHAUL_SHADOW_POLICIES = 'small=candidate';
  environment = { ...process.env, BACKHAUL_SHADOW_POLICIES, BACKHAUL_STACK_FILE: join(folder, 'stack.json') };
  for (const name of ['BACKHAUL_REPOSITORY', 'BACKHAUL_CONSOLE_URL', 'BACKHAUL_TRIGGER_URL'])
    delete environment[name];
  const images = join(folder, 'images');
  await mkdir(images);
  image = join(images, 'web-1.qcow2');
  await writeFile(join(folder, 'first.raw'), randomBytes(20 * MiB));
  await run('qemu-img', ['convert', '-O', 'qcow2', join(folder, 'first.raw'), image]);
  up = spawn(process.execPath, [MAIN, 'up', '--host', `lab=${images}`, '--directory', join(folder, 'd')], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [up.stdout, up.stderr]) stream?.on('data', (data) => (upOutput += String(data)));
  await eventually('backhaul up', 90_000, () => {
    if (up.exitCode !== null) throw new Error(upOutput);
    return upOutput.includes('Backhaul is up.') ? true : undefined;
  });
});

afterAll(async () => {
  if (up !== undefined && up.exitCode === null) {
    const ended = new Promise((resolve) => up.once('exit', resolve));
    up.kill('SIGTERM');
    await ended;
  }
  await rm(folder, { recursive: true, force: true });
});

test('a backup is watched to its end, told, explained, and restored byte for byte', async () => {
  const limits = ['childJobBytes=8MiB', 'maxPortsPerProxy=1', 'maxProxiesPerHost=2', 'proxyIdleSeconds=3'];
  const policy = await backhaul('policy', 'set', 'small', ...limits);
  expect(policy.exitCode).toBe(0);
  await backhaul('policy', 'set', 'candidate', 'childJobBytes=4MiB');
  const made = await backhaul('backup', 'web-1', '--policy', 'small', '--mode', 'proxy-vm', '--wait');
  expect(made).toMatchObject({
    exitCode: 0,
    out: expect.stringMatching(/completed in .*: 20 MiB read of 20 MiB/),
  });
  expect(made.errors).toMatch(/full, through 2 proxies\ncompleted\n$/);

  const backup = await eventually('the console to know', 15_000, async () => {
    const row = await newest();
    return row.state === 'completed' ? row : undefined;
  });
  const short = backup.backupId.slice(0, 7);
  const explained = await backhaul('explain', short);
  expect(explained.out).toMatch(/Proxy VMs calculated: ceil\(3 \/ 1\) = 3; used: 2/);
  expect(explained.out).toMatch(/Wave 2: 1 child job through 1 proxy\./);

  const story = (await backhaul('events', short)).out.trimEnd().split('\n');
  expect(story.every((line) => /^ +\+\d+\.\d{3} s {2}[A-Z]\w+/.test(line))).toBe(true);
  const types = story.map((line) => line.split(/ +/)[3]);
  const told = ['BackupTriggered', 'ProxiesCalculated', 'ProxyActivated', 'PortsLeased', 'BackupCompleted'];
  expect(types).toEqual(expect.arrayContaining(told));
  const events = (await backhaul('events', short, '--json')).out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(events.filter(({ type }) => type === 'ChunkReceived')).toHaveLength(5);

  const target = join(folder, 'restored.raw');
  const restored = await backhaul('restore', short, '--to', target);
  expect(restored).toMatchObject({ exitCode: 0, out: expect.stringMatching(/every chunk checked/) });
  expect((await readFile(target)).equals(await contents())).toBe(true);
  expect(await backhaul('restore', short, '--to', target)).toMatchObject({
    exitCode: 2,
    errors: expect.stringMatching(/restored\.raw exists\. Give another --to, or --overwrite/),
  });
});

test('an incremental restores alone, into a folder', async () => {
  await run('qemu-io', ['-c', 'write -P 7 5M 1M', image]);
  const made = await backhaul('backup', 'web-1', '--incremental', '--wait', '--json');
  expect(made.exitCode).toBe(0);
  const backup = JSON.parse(made.out) as consoleApi.BackupView;
  expect(backup).toMatchObject({ state: 'completed', kind: 'incremental', readBytes: 1 * MiB });
  const to = join(folder, 'points');
  expect((await backhaul('restore', backup.backupId, '--to', `${to}/`)).exitCode).toBe(0);
  const [disk] = await readdir(to);
  expect((await readFile(join(to, disk ?? ''))).equals(await contents())).toBe(true);
});

test('a VM is recovered from the newest restore point of another, listed, told and explained', async () => {
  const made = await backhaul(
    ...['recover', 'web-1', '--name', 'web-2', '--policy', 'small', '--mode', 'proxy-vm', '--wait'],
  );
  expect(made).toMatchObject({
    exitCode: 0,
    out: expect.stringMatching(
      /completed in .*: 20 MiB written of 20 MiB .* VM web-2 stands on host lab\.\n$/,
    ),
    errors: expect.stringMatching(/recovery, through 2 proxies\nmaking the VM\ncompleted\n$/),
  });
  const recovered = join(folder, 'recovered.raw');
  const disk = join(folder, 'images', 'web-2', 'web-1.qcow2');
  await run('qemu-img', ['convert', '-O', 'raw', disk, recovered]);
  expect((await readFile(recovered)).equals(await contents())).toBe(true);

  const id = /Recovery ([0-9a-f-]+)/.exec(made.out)?.[1] ?? '';
  // What it has cost is known a moment after its end.
  const listed = `${id.slice(0, 8)} .* lab +web-2 +completed +proxy-vm +20 MiB of 20 MiB +2/2 +[\\d.]+ m?s +no`;
  await eventually('the recovery in the list', 20_000, async () =>
    new RegExp(listed).test((await backhaul('recoveries')).out) ? true : undefined,
  );
  expect((await backhaul('explain', id.slice(0, 9))).out).toMatch(
    /Data streams: 1 disk \* maxStreamsPerDisk 2 = 2, all used/,
  );
  const story = (await backhaul('events', id)).out;
  for (const told of ['ProxyActivated', 'ChunkExported .* written$', 'TargetKept', 'RecoveryCompleted'])
    expect(story).toMatch(new RegExp(told, 'm'));
  const again = await backhaul('recover', 'web-1', '--name', 'web-2', '--wait');
  expect(again).toMatchObject({
    exitCode: 3,
    errors: expect.stringMatching(/made no VM: There is a VM web-2 .*replace it\./),
  });
});

test('lists show what stands: proxies with their ports, VMs with their restore points, and nothing owed', async () => {
  expect((await backhaul('proxies', '--all')).out).toMatch(
    /lab +p1\S+ +(idle +0:free|deactivated) .*good +[\d.]+ [KMG]iB\/s a port/,
  );
  expect((await backhaul('hosts')).out).toMatch(/lab +directory +\S+images +0 +\d/);
  expect((await backhaul('vms')).out).toMatch(/lab +web-1 +\d{4}-\d\d-\d\d .* completed/);
  // Also the proxies, which wait for the next backup for some seconds.
  await eventually('everything to be given back', 60_000, async () =>
    (await backhaul('obligations')).out.startsWith('Nothing is owed') ? true : undefined,
  );
  expect((await backhaul('dead-letters', 'list')).out).toMatch(/There are no dead letters/);
});

test('the log is sealed and proved, against the key and a seal that were noted down', async () => {
  const sealed = await backhaul('log', 'seal');
  const publicKey = /^Public key: (\S+)$/m.exec(sealed.out)?.[1] ?? '';
  expect(sealed).toMatchObject({ exitCode: 0, errors: '' });
  expect((await stat(join(folder, 'd', 'seal-key.pem'))).mode & 0o777).toBe(0o600);
  const proved = await backhaul('log', 'verify', '--public-key', publicKey);
  expect(proved).toMatchObject({
    exitCode: 0,
    out: expect.stringMatching(/^The log is what was sealed: \d+ events in \d+ seals, up to position \d+\./),
  });
  const noted = /^Newest seal: (\S+)$/m.exec(proved.out)?.[1] ?? '';
  expect((await backhaul('log', 'verify', '--noted', noted)).exitCode).toBe(0);
  expect((await backhaul('log', 'verify', '--noted', 'the last')).exitCode).toBe(2);
  const [, number, hash] = /^(\d+):(.*)$/.exec(noted) ?? [];
  const later = await backhaul('log', 'verify', '--noted', `${Number(number) + 1_000}:${hash}`);
  expect(later).toMatchObject({
    exitCode: 1,
    errors: expect.stringMatching(/The log is not what was sealed\. Position \d+: the chain ends with seal/),
  });
});

test('the log is derived again, from Postgres and from a file, and a shadow policy tells what it would have done', async () => {
  const agreed = {
    exitCode: 0,
    out: expect.stringMatching(/\d+ plans derived again\n[\s\S]*No difference\.\n$/),
  };
  expect(await backhaul('replay', '--check')).toMatchObject(agreed);
  const file = join(folder, 'log.jsonl');
  expect((await backhaul('replay', '--export', file)).errors).toMatch(/^\d+ events written to /);
  expect(await backhaul('replay', '--from-file', file)).toMatchObject(agreed);
  await writeFile(
    file,
    (await readFile(file, 'utf8')).replace(/"proxiesCalculated":\d/, '"proxiesCalculated":9'),
  );
  expect(await backhaul('replay', '--from-file', file)).toMatchObject({
    exitCode: 1,
    out: expect.stringMatching(/ProxiesCalculated data\.proxiesCalculated: recorded 9, derived \d/),
    errors: expect.stringMatching(/the plan of run .* is another one today/),
  });

  const { out } = await backhaul('shadow-plans');
  expect(out).toMatch(
    /small +proxy-vm, 3 child jobs, 2 proxy VMs, 2 waves +candidate +proxy-vm, 5 child jobs, /,
  );
  const other = await backhaul('replay', '--shadow', 'maxProxiesPerHost=1');
  expect(other.out).toMatch(
    /2 proxy VMs, 2 waves; it would have been proxy-vm, 3 child jobs, 1 proxy VM, 3 waves/,
  );
  expect(await backhaul('replay', '--shadow', 'maxProxies=2')).toMatchObject({ exitCode: 2 });
});

test('what is refused ends with code 3, the reason and the way out', async () => {
  const unknown = await backhaul('backup', 'nobody', '--wait');
  expect(unknown).toMatchObject({
    exitCode: 3,
    errors: expect.stringMatching(/There is no VM nobody .* There are: web-1, web-2\./),
  });
  const host = await backhaul('backup', 'web-1', '--host', 'mars');
  expect(host).toMatchObject({ exitCode: 3, errors: expect.stringMatching(/^backhaul: .*mars.*\n$/) });
  expect(await backhaul('redrive', '98765', '--reason', 'mended')).toMatchObject({
    exitCode: 3,
    errors: expect.stringMatching(/There is no dead letter 98765\./),
  });
});

test('what cannot be understood ends with code 2 and says what to write', async () => {
  const wrong = async (...args: string[]): Promise<string> => {
    const { exitCode, errors } = await backhaul(...args);
    expect(exitCode).toBe(2);
    return errors;
  };
  expect(await wrong('backup', 'web-1', '--full', '--incremental')).toMatch(/exclude each other/);
  expect(await wrong('backup', 'web-1', '--mode', 'warp')).toMatch(
    /Allowed choices are auto, proxy-vm, direct-to-host/,
  );
  expect(await wrong('backups', '--state', 'done')).toMatch(/state cannot be "done", only queued/);
  expect(await wrong('explain', 'not-an-id')).toMatch(/not-an-id is no id of a backup or a recovery/);
  expect(await wrong('policy', 'set', 'p', 'colour=red')).toMatch(/has no field colour/);
  expect(await wrong('zork')).toMatch(/unknown command 'zork'/);
});

test('a schedule is set, listed and removed', async () => {
  const set = await backhaul(
    'schedule',
    'set',
    'nightly',
    '--cron',
    '0 1 * * *',
    '--host',
    'lab',
    '--vm',
    'web-1',
  );
  expect(set.exitCode).toBe(0);
  await eventually('the schedule to be listed', 15_000, async () =>
    (await backhaul('schedule', 'list')).out.includes('nightly   0 1 * * *') ? true : undefined,
  );
  expect((await backhaul('schedule', 'remove', 'nightly')).exitCode).toBe(0);
  const bad = await backhaul('schedule', 'set', 'x', '--cron', 'often', '--host', 'lab', '--vm', 'web-1');
  expect(bad).toMatchObject({ exitCode: 3, errors: expect.stringMatching(/often/) });
});

test('a damaged chunk is found by --deep, and no restore pretends otherwise', async () => {
  expect(await backhaul('verify', '--deep')).toMatchObject({
    exitCode: 0,
    out: expect.stringMatching(/are whole: .* read and hashed/),
  });
  const copy = join(folder, 'damaged');
  await cp(join(folder, 'd', 'repository'), copy, { recursive: true });
  const chunks = (await readdir(copy, { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile() && entry.parentPath.includes('chunks'),
  );
  const [chunk] = chunks;
  const path = join(chunk?.parentPath ?? '', chunk?.name ?? '');
  const bytes = await readFile(path);
  bytes.writeUInt8((bytes.at(-100) ?? 0) ^ 1, bytes.length - 100);
  await writeFile(path, bytes);
  expect(await backhaul('verify', '--repository', copy)).toMatchObject({ exitCode: 0 });
  expect(await backhaul('verify', '--deep', '--repository', copy)).toMatchObject({
    exitCode: 1,
    out: expect.stringMatching(/^chunk [0-9a-f]{64}: /),
    errors: expect.stringMatching(/^(.*\n)*backhaul: \d problems? among/),
  });
  const { backupId } = await newestCompleted();
  const target = join(folder, 'damaged.raw');
  expect(await backhaul('restore', backupId, '--to', target, '--repository', copy)).toMatchObject({
    exitCode: 1,
    errors: expect.stringMatching(/chunk [0-9a-f]{64} cannot be restored/),
  });
  await expect(stat(target)).rejects.toThrow(/ENOENT/);
});

const newestCompleted = async (): Promise<consoleApi.BackupView> => {
  const { out } = await backhaul('backups', '--state', 'completed', '--json', '--limit', '1');
  return (JSON.parse(out) as consoleApi.BackupView[])[0] as consoleApi.BackupView;
};

test('a second stack on the same file is refused, and the first stops cleanly', async () => {
  const second = await backhaul('up', '--host', `lab=${folder}`);
  expect(second).toMatchObject({ exitCode: 1, errors: expect.stringMatching(/is up already \(process \d+/) });
  const ended = new Promise((resolve) => up.once('exit', resolve));
  up.kill('SIGTERM');
  expect([await ended, upOutput]).toEqual([0, expect.stringMatching(/Stopping \.\.\.\n$/)]);
  await expect(stat(environment.BACKHAUL_STACK_FILE ?? '')).rejects.toThrow(/ENOENT/);
  const url = /console +(\S+)\/api/.exec(upOutput)?.[1] ?? '';
  expect(await backhaul('backups', '--console-url', url)).toMatchObject({
    exitCode: 1,
    errors: expect.stringMatching(/^backhaul: The console cannot be reached at .*ECONNREFUSED.*Is it up\?/),
  });
});

test('with the stack stopped, its database and NATS gone, what it backed up is listed and restored', async () => {
  const repository = join(folder, 'd', 'repository');
  const list = await backhaul('restore', '--repository', repository);
  expect(list.out).toMatch(/^BACKUP .*\n[0-9a-f]{8} +lab +web-1 .* incremental +\S+ \(20 MiB\)\n/);
  const target = join(folder, 'afterwards.raw');
  expect(await backhaul('restore', 'web-1', '--to', target, '--repository', repository)).toMatchObject({
    exitCode: 0,
  });
  expect((await readFile(target)).equals(await contents())).toBe(true);
});
