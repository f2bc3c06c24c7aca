/**
 * Backups and recoveries that are cancelled, at every stage they can be met at and by every way: they end, say so, and leave nothing behind; and the
 * VM's next run has its turn.
 */
import { readdir } from 'node:fs/promises';
import { runCli } from '@backhaul/cli';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeImage, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType, openIn, portsWereExclusive } from './log-checks.ts';

let lab: Lab;
/** What recoveries are of. */
let restorePoint: string;

beforeAll(async () => {
  lab = await openLab({
    environment: { BACKHAUL_CHUNK_BUFFERS: '2', BACKHAUL_EXPORT_JOBS_AT_ONCE: '1' },
  });
  await makeImage(lab.image('web.qcow2'), 320 * MiB);
  await writeRandom(lab.image('web.qcow2'), 32 * MiB, 256 * MiB);
  await lab.definePolicy('two-ports', {
    childJobBytes: 64 * MiB,
    maxPortsPerProxy: 2,
    maxProxiesPerHost: 1,
    fullThresholdBytes: 1 * MiB,
    recoveryThresholdBytes: 1 * MiB,
    proxyIdleSeconds: 5,
  });
  restorePoint = await lab.backup('web', { policy: 'two-ports', kind: 'full' });
  expect((await lab.ended(restorePoint, 90_000)).type).toBe('BackupCompleted');
  await lab.closed(restorePoint);
});
afterAll(() => lab?.close());

const startBackup = () => lab.backup('web', { policy: 'two-ports', kind: 'full' });
let recoveries = 0;
const startRecovery = () => {
  recoveries += 1;
  return lab.recover(restorePoint, `copy-${recoveries}`, { policy: 'two-ports' });
};

/** Nothing is owed for it: not by its events, not by the console's count, and not by the host. */
async function leftNothing(runId: string): Promise<void> {
  await lab.closed(runId);
  const story = await lab.story(runId);
  everythingWasGivenBack(story);
  portsWereExclusive(story);
  await eventually(`The console knowing that run ${runId} owes nothing`, 15_000, async () => {
    const answer = await lab.fetch('console', `/api/v1/obligations?run=${runId}`);
    const { items } = (await answer.json()) as { items: { kind: string }[] };
    // A proxy that it started may serve others, and has its idle time.
    return items.every(({ kind }) => kind === 'proxy') ? true : undefined;
  });
  const names = await readdir(lab.images, { recursive: true });
  expect(names.filter((name) => name.includes('copy-') || name.includes(runId))).toEqual([]);
}

/** By which way, in turn: each is taken with every kind of run. */
const ways = {
  async nats(purpose: 'backup' | 'recovery', runId: string): Promise<void> {
    const name = purpose === 'backup' ? 'BackupCancellationRequested' : 'RecoveryCancellationRequested';
    const answer = await lab.ask(name, { [`${purpose}Id`]: runId, reason: 'wrong VM', requestedBy: 'ops' });
    expect(answer).toMatchObject({ outcome: 'accepted' });
  },
  async http(purpose: 'backup' | 'recovery', runId: string): Promise<void> {
    const path = purpose === 'backup' ? 'backups' : 'recoveries';
    const reply = await lab.fetch('trigger', `/api/v1/${path}/${runId}`, {
      method: 'DELETE',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ reason: 'wrong VM', requestedBy: 'ops' }),
    });
    expect(reply.status).toBe(200);
  },
  async cli(_: 'backup' | 'recovery', runId: string): Promise<void> {
    const { exitCode, lines } = await backhaul('cancel', runId, '--reason', 'wrong VM', '--wait');
    expect(lines.join('\n')).toMatch(/is cancelled, and everything was given back/);
    expect(exitCode).toBe(0);
  },
};

/** The command, as `USER=ops` gives it. */
async function backhaul(...args: string[]): Promise<{ exitCode: number; lines: string[] }> {
  const lines: string[] = [];
  const say = (line: string): unknown => lines.push(line);
  const { consoleUrl, triggerUrl, apiToken } = lab.stack;
  const exitCode = await runCli(['--console-url', consoleUrl, '--trigger-url', triggerUrl, ...args], {
    terminal: { out: say, note: say, isWatched: false },
    environment: { USER: 'ops', BACKHAUL_API_TOKEN: apiToken },
    signal: new AbortController().signal,
  });
  return { exitCode, lines };
}

type Reached = (runId: string) => Promise<void>;

/** Each stage with another way than the one before. */
const inTurn = (stages: Record<string, Reached>): [string, keyof typeof ways, Reached][] =>
  Object.entries(stages).map(([stage, reached], index) => [
    stage,
    (['nats', 'cli', 'http'] as const)[index % 3] ?? 'nats',
    reached,
  ]);

async function pause(purpose: 'backup' | 'recovery', runId: string): Promise<void> {
  const name = purpose === 'backup' ? 'BackupPauseRequested' : 'RecoveryPauseRequested';
  await lab.ask(name, { [`${purpose}Id`]: runId });
  await eventually(`Run ${runId} standing still`, 30_000, async () => {
    const story = await lab.story(runId);
    const open = openIn(story).join();
    const stands = ofType(story, 'RunPaused').length > 0 && (open === 'snapshot' || open === 'target');
    return stands ? true : undefined;
  });
}

describe('a backup', () => {
  const stages = {
    // Its turn may come a moment after the answer: whoever was there before gives it back when the trigger hears of its end.
    'that was just asked for': (runId: string) => lab.until(runId, 'BackupTriggered', 1),
    'that is planned': (runId: string) => lab.until(runId, 'ProxiesCalculated', 1),
    'that takes its snapshot': (runId: string) => lab.until(runId, 'SnapshotRequested', 1),
    'whose proxies are activated': (runId: string) => lab.until(runId, 'ProxiesChosen', 1),
    'that reads': (runId: string) => lab.until(runId, 'ChunkReceived', 3),
    async 'that is paused'(runId: string) {
      await lab.until(runId, 'ChunkReceived', 3);
      await pause('backup', runId);
    },
  };
  test.each(inTurn(stages))('%s ends, says so, and leaves nothing (over %s)', async (_, way, reached) => {
    const backupId = await startBackup();
    await reached(backupId);
    await ways[way]('backup', backupId);
    expect(await lab.ended(backupId)).toMatchObject({
      type: 'BackupFailed',
      data: {
        refusal: {
          code: 'BackupCancelled',
          message: expect.stringMatching(/^The backup of vm web was cancelled by (cli )?ops: wrong VM\.$/),
        },
      },
    });
    await leftNothing(backupId);
  });

  test('that waits for its turn leaves the line, and the one behind it has it', async () => {
    const [first, second, third] = [await startBackup(), await startBackup(), await startBackup()];
    await ways.nats('backup', second);
    expect((await lab.ended(second)).type).toBe('BackupCancelled');
    await ways.http('backup', first);
    await leftNothing(first);
    await lab.until(third, 'SnapshotTaken', 1);
    await ways.nats('backup', third);
    await leftNothing(third);
    expect(ofType(await lab.story(second), 'BackupTriggered')).toEqual([]);
  });

  test('that has completed is left as it is', async () => {
    const answer = await lab.ask('BackupCancellationRequested', { backupId: restorePoint });
    expect(answer).toMatchObject({
      outcome: 'refused',
      refusal: { code: 'AlreadyEnded', message: `Backup ${restorePoint} has completed.` },
    });
  });

  test('that is cancelled while everything is down ends when it is up again', async () => {
    const backupId = await startBackup();
    await lab.until(backupId, 'ChunkReceived', 3);
    const services = (['proxy-manager', 'ingest'] as const).map((name) => lab.stack.services.get(name));
    for (const service of services) await service?.kill();
    await ways.nats('backup', backupId);
    for (const service of services) await service?.start();
    expect(await lab.ended(backupId)).toMatchObject({ data: { refusal: { code: 'BackupCancelled' } } });
    await leftNothing(backupId);
  });
});

describe('a recovery', () => {
  const stages = {
    'that was just asked for': (runId: string) => lab.until(runId, 'RecoveryTriggered', 1),
    'whose disks are made': (runId: string) => lab.until(runId, 'TargetRequested', 1),
    'that writes': (runId: string) => lab.until(runId, 'ChunkExported', 1),
    async 'that is paused'(runId: string) {
      await lab.until(runId, 'ExportJobStarted', 1);
      await pause('recovery', runId);
    },
  };
  test.each(inTurn(stages))('%s ends, says so, and leaves nothing (over %s)', async (_, way, reached) => {
    const recoveryId = await startRecovery();
    await reached(recoveryId);
    await ways[way]('recovery', recoveryId);
    expect(await lab.ended(recoveryId)).toMatchObject({
      type: 'RecoveryFailed',
      data: { refusal: { code: 'RecoveryCancelled' }, alternative: null },
    });
    await leftNothing(recoveryId);
  });

  test('that has completed is left as it is, and so is its VM', async () => {
    const recoveryId = await lab.recover(restorePoint, 'kept', { policy: 'two-ports' });
    expect((await lab.ended(recoveryId, 90_000)).type).toBe('RecoveryCompleted');
    const answer = await lab.ask('RecoveryCancellationRequested', { recoveryId });
    expect(answer).toMatchObject({
      outcome: 'refused',
      refusal: { code: 'AlreadyEnded', message: expect.stringContaining('VM kept stands') },
    });
    expect(await readdir(lab.image('kept'))).toContain('web.qcow2');
  });
});

test('after all of that the VM is backed up again, on the restore point from before', async () => {
  const backupId = await lab.backup('web', { policy: 'two-ports', host: HOST });
  expect(await lab.ended(backupId, 90_000)).toMatchObject({
    type: 'BackupCompleted',
    data: { kind: 'incremental', totals: { readBytes: 0 } },
  });
});
