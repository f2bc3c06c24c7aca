/** The service as it runs, between a real log, a real NATS and real targets: from leases to the last word of a recovery, killed on the way. */
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  type EventType,
  Machine,
  Policy,
  type Recorded,
  type RecoveryPlan,
  streamName,
} from '@backhaul/contracts';
import { derivedId, eventually, MiB } from '@backhaul/kernel';
import { ServiceProcess } from '@backhaul/local';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import { serveNbd } from '@backhaul/nbd';
import { openRepository, type Repository, type Segment, type StoredManifest } from '@backhaul/repository';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { exportJobStream } from './export-job.ts';
import { leaseOf, recoveryPlan, targetDisk } from './recovery.fixture.ts';
import { recoveryStream } from './recovery.ts';

const run = promisify(execFile);
const SLOT = 4 * MiB;
const SLOTS = 12;
const SIZE = SLOTS * SLOT;
let directory: string;
let servers: TestMessaging;
let planner: TestService;
let host: TestService;
let trigger: TestService;
let service: ServiceProcess;
let repository: Repository;
let content: Uint8Array;
let older: StoredManifest;
let newer: StoredManifest;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-es-'));
  servers = await openTestMessaging();
  planner = await servers.connect('planner');
  host = await servers.connect('proxy-manager');
  trigger = await servers.connect('trigger');
  const location = join(directory, 'repository');
  repository = await openRepository({ location, workers: 1 });
  content = new Uint8Array(SIZE);
  for (let slot = 0; slot < SLOTS; slot += 1) content.set(randomBytes(MiB), slot * SLOT);
  older = await restorePoint(1, content);
  const changed = content.slice();
  changed.set(randomBytes(MiB), 5 * SLOT);
  newer = await restorePoint(2, changed);
  service = new ServiceProcess('export', {
    main: fileURLToPath(new URL('./main.ts', import.meta.url)),
    logFile: join(directory, 'export.log'),
    readyFile: join(directory, 'ready.json'),
    environment: {
      BACKHAUL_POSTGRES_URL: servers.postgres.urlOf('export'),
      BACKHAUL_NATS_URL: servers.nats.url,
      BACKHAUL_REPOSITORY: location,
    },
  });
  await service.start();
});
afterAll(async () => {
  await service?.stop();
  await repository?.close();
  await servers?.close();
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
});

/** A MiB of data at the start of every slot, the rest zero. */
async function restorePoint(day: number, disk: Uint8Array): Promise<StoredManifest> {
  const segments: Segment[] = [];
  for (let offset = 0; offset < SIZE; offset += SLOT) {
    const { digest } = await repository.putChunk(disk.slice(offset, offset + MiB));
    segments.push({ offset, length: MiB, digest, chunkOffset: 0 });
    segments.push({ offset: offset + MiB, length: SLOT - MiB, digest: null, chunkOffset: 0 });
  }
  return await repository.putManifest({
    ...{ backupId: derivedId('backup', day), hostId: 'lab', vmId: 'web', kind: 'full', parentBackupId: null },
    ...{ takenAt: `2026-01-0${day}T00:00:00.000Z`, disks: [{ diskId: 'vda', sizeBytes: SIZE, segments }] },
  });
}

async function planned(name: string, of: StoredManifest, streams: number): Promise<RecoveryPlan> {
  const { backupId } = of.manifest;
  const length = SIZE / streams;
  const plan = recoveryPlan(
    derivedId('recovery', name),
    { backupId, manifestDigest: of.digest, sizeBytes: SIZE },
    Array.from({ length: streams }, (_, index) => ({ offset: index * length, length })),
  );
  await planner.append(streamName('plan', plan.recoveryId), {
    type: 'RecoveryProxiesCalculated',
    data: plan,
  });
  return plan;
}

const lease = (plan: RecoveryPlan, index: number, fence: number, uris: readonly string[]): Promise<void> =>
  host.append(streamName('host', 'lab'), { type: 'PortsLeased', data: leaseOf(plan, index, fence, uris) });

/** The first event of a type in a stream, once it is there. */
const said = <T extends EventType>(
  stream: ReturnType<typeof recoveryStream>,
  type: T,
): Promise<Recorded<T>> =>
  eventually(`${type} in ${stream}`, 30_000, async () => {
    const events = await Array.fromAsync(host.store.readStream(stream));
    return events.find((event) => event.type === type) as Recorded<T> | undefined;
  });

const confirmed = async (plan: RecoveryPlan): Promise<Recorded<'ChunkExported'>[]> => {
  const stream = exportJobStream(plan.childJobs[0]?.childJobId ?? '');
  const events = await Array.fromAsync(host.store.readStream(stream));
  return events.filter((event) => event.type === 'ChunkExported');
};

const gone = (plan: RecoveryPlan): { runId: string; hostId: string; vmId: string } => ({
  ...{ runId: plan.recoveryId, hostId: plan.hostId, vmId: plan.vmId },
});

test('a disk is recovered through several streams and ports: equal bytes, sparse, and told once', async () => {
  const image = join(directory, 'target.qcow2');
  const socket = join(directory, 'qemu.sock');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, String(SIZE)]);
  const qemu = spawn('qemu-nbd', [
    '--persistent',
    '--shared=8',
    '--format=qcow2',
    `--socket=${socket}`,
    image,
  ]);
  const ended = new Promise((resolve) => qemu.once('exit', resolve));
  onTestFinished(() => void qemu.kill('SIGKILL'));
  await eventually('qemu-nbd serving', 10_000, () => (existsSync(socket) ? true : undefined));
  const port = `nbd+unix:///?socket=${socket}`;

  const plan = await planned('whole', older, 2);
  await lease(plan, 0, 1, [port, port]);
  await lease(plan, 1, 2, [port, port]);
  const stream = recoveryStream(plan.recoveryId);
  const exported = await said(stream, 'DataExported');
  expect(exported.data.totals).toEqual({
    ...{ diskBytes: SIZE, writtenBytes: SLOTS * MiB, zeroBytes: SIZE - SLOTS * MiB, chunks: SLOTS },
    // The first and the last of both streams.
    verifiedBytes: 4 * MiB,
  });
  await host.append(streamName('host', 'lab'), {
    type: 'TargetKept',
    data: { ...gone(plan), started: true, notStarted: null },
  });
  const completed = await said(stream, 'RecoveryCompleted');
  expect(completed.data).toMatchObject({ started: true, mode: 'proxy-vm', totals: exported.data.totals });
  const events = await Array.fromAsync(host.store.readStream(stream), ({ type }) => type);
  expect(events).toEqual(['DataExported', 'RecoveryCompleted']);

  qemu.kill('SIGTERM');
  await ended;
  const raw = join(directory, 'target.raw');
  await run('qemu-img', ['convert', '-O', 'raw', image, raw]);
  expect(Buffer.compare(await readFile(raw), content)).toBe(0);
  const { stdout } = await run('qemu-img', ['info', '--output=json', image]);
  expect(JSON.parse(stdout)['actual-size']).toBeLessThan((SLOTS + 1) * MiB);
});

test('killed on the way, it writes nothing again that was confirmed', async () => {
  const gate = Promise.withResolvers<void>();
  const target = targetDisk(SIZE, ({ write }) => ({
    async write(offset, data) {
      // The last slots wait, so that there is something left to do.
      if (offset >= 8 * SLOT) await gate.promise;
      await write?.(offset, data);
    },
  }));
  const socketPath = join(directory, 'gated.sock');
  const server = await serveNbd({
    exports: [target],
    listen: { kind: 'unix', socketPath },
    log: () => undefined,
  });
  onTestFinished(() => server.close());
  const port = `nbd+unix:///vda?socket=${socketPath}`;
  const plan = await planned('killed', older, 1);
  await lease(plan, 0, 3, [port]);
  const before = await eventually('chunks being confirmed', 30_000, async () => {
    const events = await confirmed(plan);
    return events.length === 8 ? events : undefined;
  });
  await service.kill();
  gate.resolve();
  await service.start();
  await lease(plan, 0, 4, [port]);
  await said(recoveryStream(plan.recoveryId), 'DataExported');

  const after = await confirmed(plan);
  expect(new Set(after.map(({ data }) => data.offset)).size).toBe(after.length);
  expect(after).toHaveLength(SLOTS);
  // A MiB travels in two requests.
  for (const { data } of before)
    expect(
      target.writes.filter(({ offset }) => Math.floor(offset / SLOT) === data.offset / SLOT),
    ).toHaveLength(2);
  expect(Buffer.compare(target.content, content)).toBe(0);
});

test('a damaged restore point ends its recovery, and the newest older one that is whole is offered', async () => {
  const [disk] = newer.manifest.disks;
  if (disk === undefined) throw new Error('The restore point has a disk');
  const segments = await Array.fromAsync(repository.readSegments(disk));
  const digest = segments.find(({ offset }) => offset === 5 * SLOT)?.digest ?? '';
  await rm(join(repository.location, 'chunks', digest.slice(0, 2), digest));

  const plan = await planned('damaged', newer, 1);
  const { takenAt } = newer.manifest;
  await trigger.append(streamName('recovery', plan.recoveryId), {
    type: 'RecoveryTriggered',
    data: {
      ...{ recoveryId: plan.recoveryId, backupId: plan.backupId, source: { hostId: 'lab', vmId: 'web' } },
      restorePoint: { backupId: plan.backupId, manifestDigest: newer.digest, takenAt, disks: [] },
      ...{ hostId: plan.hostId, vmId: plan.vmId, disks: ['vda'], mode: 'auto', policy: Policy.parse({}) },
      priority: 'high',
      ...{ replace: false, start: true, verify: false, machine: Machine.parse({}), requestedAt: takenAt },
      origin: { via: 'http', requestId: 'test', requestedBy: 'test' },
    },
  });
  const server = await serveNbd({
    exports: [targetDisk(SIZE)],
    listen: { kind: 'unix', socketPath: join(directory, 'plain.sock') },
    log: () => undefined,
  });
  onTestFinished(() => server.close());
  await lease(plan, 0, 5, [`nbd+unix:///vda?socket=${join(directory, 'plain.sock')}`]);
  await said(exportJobStream(plan.childJobs[0]?.childJobId ?? ''), 'ExportJobInterrupted');

  const refusal = { code: 'ChildJobFailed', message: 'It was interrupted.', wayOut: 'Mend it.' };
  const ofBackup = derivedId('a backup', 1);
  await host.append(
    streamName('host', 'lab'),
    { type: 'RunFailed', data: { runId: ofBackup, purpose: 'backup', hostId: 'lab', vmId: 'web', refusal } },
    { type: 'RunFailed', data: { ...gone(plan), purpose: 'recovery', refusal } },
  );
  const { data } = await said(recoveryStream(plan.recoveryId), 'RecoveryFailed');
  const { backupId } = older.manifest;
  expect(data).toMatchObject({
    alternative: { backupId, takenAt: older.manifest.takenAt },
    refusal: { code: 'RestorePointDamaged', wayOut: expect.stringContaining(backupId) },
  });
  expect(data.refusal.message).toContain(`Disk vda, offset ${5 * SLOT}, chunk ${digest}`);
  expect(await Array.fromAsync(host.store.readStream(recoveryStream(ofBackup)))).toEqual([]);
});
