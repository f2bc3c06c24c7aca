/** What a recovery says and does while the folder of the repository is not there: a real log, a real repository, a real NBD server. */
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Recorded, RecoveryAsked, type RecoveryPlan, streamName } from '@backhaul/contracts';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId } from '@backhaul/kernel';
import { serveNbd } from '@backhaul/nbd';
import { ChunkCache, openRepository, type Repository } from '@backhaul/repository';
import { unlimited } from '@backhaul/service';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { exportJobStream } from './export-job.ts';
import { failRecovery } from './fail-recovery.ts';
import { damaged } from './reasons.ts';
import {
  AT,
  leased,
  leaseOf,
  recoveryPlan,
  SIZE,
  sampleRestorePoint,
  targetDisk,
} from './recovery.fixture.ts';
import { recoveryStream } from './recovery.ts';
import { repositoryThere } from './repository-there.ts';
import { type ExportParts, giveUpExportJob, runExportJob } from './run-export-job.ts';
import { serveMount } from './serve-mount.ts';

const never = new AbortController().signal;
let server: TestStore;
let directory: string;
let repository: Repository;
let parts: ExportParts;
let restorePoint: Awaited<ReturnType<typeof sampleRestorePoint>>['restorePoint'];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-export-'));
  server = await openTestStore();
  repository = await openRepository({ location: join(directory, 'repository'), workers: 1 });
  const store = await server.store('export');
  parts = { store, repository, requestMilliseconds: 2_000, rates: unlimited, log: pino({ level: 'silent' }) };
  ({ restorePoint } = await sampleRestorePoint(repository));
});
afterAll(async () => {
  await repository?.close();
  await server?.close();
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
});

async function planned(name: string): Promise<RecoveryPlan> {
  const recoveryId = derivedId('test', name);
  const data = recoveryPlan(recoveryId, restorePoint, [{ offset: 0, length: SIZE }]);
  const events = [{ type: 'RecoveryProxiesCalculated', data } as const];
  const planner = await server.store('planner');
  await planner.append([{ stream: streamName('plan', recoveryId), expected: 'none', events }], {
    commandId: name,
    metadata: { correlation: recoveryId, causation: 'test', actor: 'planner' },
  });
  return data;
}

const story = async (plan: RecoveryPlan): Promise<string[]> =>
  await Array.fromAsync(
    parts.store.readStream(exportJobStream(plan.childJobs[0]?.childJobId ?? '')),
    ({ type }) => type,
  );

test('a repository that is out of reach is no damage: the lease stays, and goes on when it is back', async () => {
  const plan = await planned('out of reach');
  const socketPath = join(directory, 'port.sock');
  const listen = { kind: 'unix', socketPath } as const;
  const served = await serveNbd({ exports: [targetDisk(SIZE)], listen, log: () => undefined });
  onTestFinished(() => served.close());
  const port = `nbd+unix:///vda?socket=${socketPath}`;
  const away = `${repository.location}.away`;
  await rename(repository.location, away);
  try {
    await expect(runExportJob(parts, leased(leaseOf(plan, 0, 1, [port])), never)).rejects.toMatchObject({
      permanent: false,
      code: 'RepositoryAway',
      message: expect.stringContaining(repository.location),
    });
  } finally {
    await rename(away, repository.location);
  }
  expect(await story(plan)).toEqual(['ExportJobStarted']);
  await runExportJob(parts, leased(leaseOf(plan, 0, 1, [port])), never);
  expect((await story(plan)).at(-1)).toBe('ExportJobCompleted');
});

test('while the repository is out of reach nobody says that no older restore point is whole', async () => {
  const plan = await planned('out of reach at the end');
  const { recoveryId, hostId, vmId } = plan;
  const lease = leased(leaseOf(plan, 0, 1, ['nbd+unix:///vda?socket=/nowhere']));
  await giveUpExportJob(parts, lease, damaged('A chunk is gone'));
  const asked = RecoveryAsked.parse({
    ...{ recoveryId, backupId: plan.backupId, source: { hostId, vmId }, hostId, vmId, disks: ['vda'] },
    restorePoint: { ...restorePoint, takenAt: AT, disks: [] },
    ...{ mode: 'auto', policy: {}, replace: false, start: false, verify: false, machine: {} },
    ...{ priority: 'normal', origin: { via: 'http', requestId: 'test' }, requestedAt: AT },
  });
  const trigger = await server.store('trigger');
  await trigger.append(
    [
      {
        stream: streamName('recovery', recoveryId),
        expected: 'none',
        events: [{ type: 'RecoveryTriggered', data: asked }],
      },
    ],
    { commandId: 'asked', metadata: { correlation: recoveryId, causation: 'test', actor: 'trigger' } },
  );
  const refusal = { code: 'ChildJobFailed', message: 'It was interrupted.' };
  const failed: Recorded<'RunFailed'> = {
    ...{ type: 'RunFailed', data: { runId: recoveryId, purpose: 'recovery', hostId, vmId, refusal } },
    ...{ eventId: derivedId('failed', recoveryId), stream: lease.stream, category: 'host', position: 1 },
    ...{ version: 2, schemaVersion: 1, metadata: lease.metadata, recordedAt: AT },
  };
  const away = `${repository.location}.away`;
  await rename(repository.location, away);
  await failRecovery({ ...parts, repository, alternativeSeconds: 10 }, failed, never).finally(() =>
    rename(away, repository.location),
  );
  const [told] = await Array.fromAsync(parts.store.readStream(recoveryStream(recoveryId)));
  expect(told).toMatchObject({
    type: 'RecoveryFailed',
    data: {
      alternative: null,
      refusal: { code: 'RestorePointDamaged', wayOut: expect.stringContaining('out of reach') },
    },
  });
});

test('a restore point that cannot be found to be mounted is out of reach with its repository, and not damaged', async () => {
  const { backupId, manifestDigest } = await planned('mounted while out of reach');
  const order = {
    ...{ recoveryId: derivedId('mounted'), hostId: 'lab', vmId: 'web2', backupId },
    manifestDigest,
  };
  const serving = { repository, cache: new ChunkCache({ repository }), folder: join(directory, 'mounts') };
  const mount = () =>
    serveMount({ ...serving, log: parts.log }, { ...order, disks: ['vda'] }, () => undefined);
  const away = `${repository.location}.away`;
  await rename(repository.location, away);
  try {
    await expect(mount()).rejects.toMatchObject({ permanent: false, code: 'RepositoryAway' });
  } finally {
    await rename(away, repository.location);
  }
  const served = await mount();
  expect(Object.keys(served.mounts)).toEqual(['vda']);
  await served.close();
});

test('a folder without a repository is waited for, and never made one', async () => {
  const location = join(directory, 'not-mounted');
  await mkdir(location);
  await expect(repositoryThere({ location }, 300)).rejects.toMatchObject({
    permanent: true,
    message: expect.stringContaining(location),
  });
  expect(await readdir(location)).toEqual([]);
  const waiting = repositoryThere({ location }, 30_000);
  const made = await openRepository({ location, workers: 1 });
  const found = await waiting;
  expect(found.repositoryId).toBe(made.repositoryId);
  await Promise.all([made.close(), found.close()]);
});
