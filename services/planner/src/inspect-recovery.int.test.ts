/** Real restore points in a real repository; the host here says what it is told to, which the real one does not. */
import { mkdtemp, readdir, rename, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHUNK_BYTES } from '@backhaul/contracts';
import type { TargetInspection, TargetOrder } from '@backhaul/hypervisor';
import { derivedId, Fault, ok, type Result, refuse } from '@backhaul/kernel';
import type { TriggeredRecovery } from '@backhaul/planning';
import { openRepository, type StoredManifest } from '@backhaul/repository';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type LazyRepository, repositoryAt } from './adapters/lazy-repository.ts';
import { inspectRecovery } from './inspect-recovery.ts';
import { recoveryOf } from './recovery.fixture.ts';
import { storeDisks } from './stored-disks.fixture.ts';

const backupId = derivedId('backup', 'r1');
const willing: TargetInspection = {
  modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
  instant: { available: false },
  freeBytes: 10 * CHUNK_BYTES,
};

let location: string;
let lazy: LazyRepository;
let stored: StoredManifest;
let orders: TargetOrder[];

beforeEach(async () => {
  location = await mkdtemp(join(tmpdir(), 'backhaul-planner-repository-'));
  lazy = repositoryAt(location);
  orders = [];
});

afterEach(async () => {
  await lazy.close();
  await rm(location, { recursive: true, force: true });
});

async function store(disks: Record<string, string> = { vda: '.##.', vdb: '....', vdc: '' }): Promise<void> {
  const repository = await openRepository({ location, workers: 1 });
  try {
    stored = await storeDisks(repository, backupId, disks);
  } finally {
    await repository.close();
  }
}

function inspect(
  triggered: TriggeredRecovery,
  answers: (() => Result<TargetInspection>)[] = [() => ok(willing)],
) {
  const inspectTarget = async (order: TargetOrder) => {
    orders.push(order);
    return (answers[Math.min(orders.length, answers.length) - 1] as () => Result<TargetInspection>)();
  };
  return inspectRecovery(
    {
      repository: lazy.open,
      hostNamed: async (hostId) => (hostId === 'lab' ? { inspectTarget } : undefined),
    },
    triggered,
    new AbortController().signal,
    () => undefined,
    { attempts: 3, firstDelayMilliseconds: 1 },
  );
}

test('the restore point says where data is, and the host is asked for just that much room', async () => {
  await store();
  const triggered = recoveryOf(stored, { replace: true });
  expect(await inspect(triggered)).toEqual(
    ok({
      hostId: 'lab',
      vmId: 'web-2',
      disks: [
        {
          diskId: 'vda',
          sizeBytes: 4 * CHUNK_BYTES,
          data: { bucketBytes: CHUNK_BYTES, buckets: [0, CHUNK_BYTES, CHUNK_BYTES, 0] },
        },
        {
          diskId: 'vdb',
          sizeBytes: 4 * CHUNK_BYTES,
          data: { bucketBytes: CHUNK_BYTES, buckets: [0, 0, 0, 0] },
        },
        { diskId: 'vdc', sizeBytes: 0, data: { bucketBytes: CHUNK_BYTES, buckets: [] } },
      ],
      ...willing,
    }),
  );
  expect(orders).toEqual([
    {
      targetId: triggered.recoveryId,
      vmId: 'web-2',
      disks: [
        { diskId: 'vda', sizeBytes: 4 * CHUNK_BYTES, bytesToWrite: 2 * CHUNK_BYTES },
        { diskId: 'vdb', sizeBytes: 4 * CHUNK_BYTES, bytesToWrite: 0 },
        { diskId: 'vdc', sizeBytes: 0, bytesToWrite: 0 },
      ],
      replace: true,
      machine: triggered.machine,
    },
  ]);
});

test('only the disks that were asked for are looked at', async () => {
  await store();
  const found = await inspect(recoveryOf(stored, { disks: ['vdb'] }));
  expect(found.ok && found.value.disks.map(({ diskId }) => diskId)).toEqual(['vdb']);
  expect(orders[0]?.disks).toHaveLength(1);
});

test('a restore point that is not what was meant is refused, and the host is not asked', async () => {
  await store();
  const otherBackup = derivedId('backup', 'another');
  const wanted = recoveryOf(stored);
  const restorePoint = { ...wanted.restorePoint, manifestDigest: '0'.repeat(64) };
  const refusals = [
    await inspect({ ...wanted, backupId: otherBackup }),
    await inspect({ ...wanted, restorePoint }),
    await inspect({ ...wanted, disks: ['vda', 'vdx'] }),
  ].map((result) => (result.ok ? result : result.refusal));
  expect(refusals).toMatchObject([
    {
      code: 'RestorePointMissing',
      message: expect.stringContaining(otherBackup),
      wayOut: expect.any(String),
    },
    {
      code: 'RestorePointDiffers',
      message: expect.stringContaining(stored.digest),
      wayOut: expect.any(String),
    },
    { code: 'UnknownDisk', message: expect.stringMatching(/no disk vdx, only: vda, vdb, vdc/) },
  ]);
  expect(orders).toEqual([]);
});

test('a repository that is out of reach has lost no restore point', async () => {
  await store();
  expect((await inspect(recoveryOf(stored))).ok).toBe(true);
  const away = `${location}.away`;
  await rename(location, away);
  const found = await inspect(recoveryOf(stored)).finally(() => rename(away, location));
  expect(found).toMatchObject({
    ok: false,
    refusal: { code: 'RepositoryAway', message: expect.stringContaining(location) },
  });
});

test('where there is no repository yet a recovery is refused, and one that comes later is found', async () => {
  const elsewhere = { backupId, hostId: 'lab', vmId: 'web-1', takenAt: '', disks: [] };
  const nothing = { manifest: elsewhere, digest: '' } as unknown as StoredManifest;
  expect(await inspect(recoveryOf(nothing))).toMatchObject({
    refusal: {
      code: 'NoRepository',
      message: expect.stringContaining(`${location} is not a repository`),
      wayOut: expect.any(String),
    },
  });
  expect(await readdir(location)).toEqual([]);
  await store();
  expect((await inspect(recoveryOf(stored))).ok).toBe(true);
});

test('a damaged map of a disk is a refusal that names the disk', async () => {
  await store();
  const { mapDigest } = stored.manifest.disks[0] as StoredManifest['manifest']['disks'][number];
  await truncate(join(location, 'maps', mapDigest.slice(0, 2), mapDigest), 40);
  expect(await inspect(recoveryOf(stored))).toMatchObject({
    refusal: { code: 'MapDamaged', message: expect.stringMatching(/backup .* disk vda is damaged/) },
  });
});

test('a host that says no is heard, and one that fails is asked again', async () => {
  await store();
  const refusal = { code: 'VmExists', message: 'There is a VM web-2.' };
  expect(await inspect(recoveryOf(stored), [() => refuse(refusal)])).toMatchObject({
    refusal: { ...refusal, wayOut: expect.stringContaining('new request id') },
  });
  orders = [];
  const failing = () => {
    throw new Fault('the folder did not answer', { code: 'EIO' });
  };
  expect((await inspect(recoveryOf(stored), [failing, () => ok(willing)])).ok).toBe(true);
  orders = [];
  expect(await inspect(recoveryOf(stored), [failing])).toMatchObject({
    refusal: {
      code: 'EIO',
      message: expect.stringMatching(/host lab .* failed 3 times: the folder did not/),
    },
  });
  expect(await inspect(recoveryOf(stored, { hostId: 'elsewhere' }))).toMatchObject({
    refusal: { code: 'UnknownHost' },
  });
});
