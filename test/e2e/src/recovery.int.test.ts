/**
 * The way back, by real parts: requests on NATS, the second quantity, writable disks at shared proxies, and VMs that equal what was
 * backed up. And what goes wrong on the way.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Recorded, Service } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyOf, dataBytesOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, nothingWasWrittenTwice, ofType, portsWereExclusive } from './log-checks.ts';
import { openToOthers } from './private-files.ts';

let lab: Lab;
/** Two restore points of `web`, and the disks as they were then. */
const full = { backupId: '', vda: '', vdb: '' };
const incremental = { backupId: '', vda: '', vdb: '' };

const hashOf = async (image: string): Promise<string> =>
  sha256Of(await copyOf(lab.image(image), lab.image('../compared.copy')));
const recovered = (vm: string, disk: string): string => `${vm}/${disk}.qcow2`;

async function backUp(point: typeof full): Promise<void> {
  point.vda = await hashOf('web/vda.qcow2');
  point.vdb = await hashOf('web/vdb.qcow2');
  point.backupId = await lab.backup('web', { policy: 'proxies' });
  expect(await lab.ended(point.backupId)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(point.backupId);
}

/** No VM of that name, no disks of it, nothing attached, no port held. */
async function leftNothing(recoveryId: string, vm: string): Promise<void> {
  await lab.closed(recoveryId);
  everythingWasGivenBack(await lab.story(recoveryId));
  const names = await readdir(lab.images, { recursive: true });
  expect(names.filter((name) => name.includes(vm) || name.includes(recoveryId))).toEqual([]);
}

beforeAll(async () => {
  lab = await openLab();
  await makeImage(lab.image('web/vda.qcow2'), 192 * MiB);
  await writeRandom(lab.image('web/vda.qcow2'), 0, 72 * MiB);
  await writeRandom(lab.image('web/vda.qcow2'), 150 * MiB, 8 * MiB);
  await makeImage(lab.image('web/vdb.qcow2'), 32 * MiB);
  await writeRandom(lab.image('web/vdb.qcow2'), 4 * MiB, 12 * MiB);
  await lab.definePolicy('proxies', {
    childJobBytes: 8 * MiB,
    maxPortsPerProxy: 4,
    maxChildJobsPerProxy: 4,
    maxProxiesPerHost: 2,
    fullThresholdBytes: 32 * MiB,
    incrementalThresholdBytes: 1 * MiB,
    recoveryThresholdBytes: 32 * MiB,
    maxStreamsPerDisk: 3,
    proxyIdleSeconds: 30,
  });
  await backUp(full);
  await writeRandom(lab.image('web/vda.qcow2'), 20 * MiB, 2 * MiB);
  await writeRandom(lab.image('web/vda.qcow2'), 100 * MiB, 3 * MiB);
  await backUp(incremental);
});
afterAll(() => lab?.close());

describe('a recovery', () => {
  test('goes through the second quantity of proxies, and its VM equals the restore point, as sparse as it was', async () => {
    const recoveryId = await lab.recover(incremental.backupId, 'web-2', { policy: 'proxies' });
    // In the middle of it: its disks to be, what serves them, proxies, and what backups have left.
    await lab.until(recoveryId, 'ChunkExported', 1);
    expect(await openToOthers(lab.stack.stateDirectory, lab.stack.repository)).toEqual([]);
    expect(await lab.ended(recoveryId)).toMatchObject({
      type: 'RecoveryCompleted',
      data: { mode: 'proxy-vm', started: false },
    });
    await lab.closed(recoveryId);
    const story = await lab.story(recoveryId);
    // 2 disks, 3 streams each, 1 port a stream, 4 ports a proxy: 2 proxies.
    expect(ofType(story, 'RecoveryProxiesCalculated')[0]?.data).toMatchObject({
      proxiesCalculated: 2,
      proxies: 2,
      arithmetic: { disks: 2, maxStreamsPerDisk: 3, streams: 6, maxPortsPerProxy: 4 },
    });
    portsWereExclusive(story);
    everythingWasGivenBack(story);
    nothingWasWrittenTwice(story);
    expect(await hashOf(recovered('web-2', 'vda'))).toBe(incremental.vda);
    expect(await hashOf(recovered('web-2', 'vdb'))).toBe(incremental.vdb);
    const sparse = await dataBytesOf(lab.image(recovered('web-2', 'vda')));
    expect(await openToOthers(lab.image('web-2'), lab.stack.stateDirectory)).toEqual([]);
    expect(sparse).toBeLessThanOrEqual((await dataBytesOf(lab.image('web/vda.qcow2'))) + 8 * MiB);
  });

  test('of an older point of the chain, of one disk alone, direct to the host', async () => {
    const recoveryId = await lab.recover(full.backupId, 'web-old', {
      policy: 'proxies',
      disks: ['vda'],
      mode: 'direct-to-host',
      verify: true,
    });
    const ended = await lab.ended(recoveryId);
    expect(ended).toMatchObject({ type: 'RecoveryCompleted', data: { mode: 'direct-to-host' } });
    await lab.closed(recoveryId);
    const story = await lab.story(recoveryId);
    const [completed] = ofType(story, 'RecoveryCompleted');
    expect(completed?.data.totals.verifiedBytes).toBe(completed?.data.totals.writtenBytes);
    expect(ofType(story, 'ProxyActivationRequested')).toEqual([]);
    expect(await hashOf(recovered('web-old', 'vda'))).toBe(full.vda);
    const disks = (await readdir(lab.image('web-old'))).filter((name) => !name.startsWith('.'));
    expect(disks).toEqual(['vda.qcow2']);
  });

  test('shares a proxy with a backup: both hold ports of it at the same moment', async () => {
    await lab.definePolicy('one-proxy', {
      childJobBytes: 8 * MiB,
      maxProxiesPerHost: 2,
      fullThresholdBytes: 1 * MiB,
      recoveryThresholdBytes: 1 * MiB,
    });
    // Slow enough that neither is done before the other has its ports.
    await lab.changeHostPolicy({ bytesPerSecond: 8 * MiB });
    const backupId = await lab.backup('web', { policy: 'one-proxy', kind: 'full' });
    await lab.until(backupId, 'ChunkReceived', 1);
    const recoveryId = await lab.recover(full.backupId, 'web-3', { policy: 'one-proxy' });
    await lab.until(recoveryId, 'PortsLeased', 1);
    await lab.changeHostPolicy({ bytesPerSecond: null });
    expect((await lab.ended(backupId)).type).toBe('BackupCompleted');
    expect((await lab.ended(recoveryId)).type).toBe('RecoveryCompleted');
    await Promise.all([lab.closed(backupId), lab.closed(recoveryId)]);
    const both = [...(await lab.story(backupId)), ...(await lab.story(recoveryId))].sort(
      (a, b) => a.position - b.position,
    );
    portsWereExclusive(both);
    expect(proxiesHeldForBoth(both).size).toBeGreaterThan(0);
    expect(await hashOf(recovered('web-3', 'vda'))).toBe(full.vda);
  });

  test('can be backed up at once, and recovered from that', async () => {
    const again = await lab.backup('web-2', { policy: 'proxies' });
    expect((await lab.ended(again)).type).toBe('BackupCompleted');
    await lab.closed(again);
    const recoveryId = await lab.recover(again, 'web-2', { policy: 'proxies', replace: true });
    expect((await lab.ended(recoveryId)).type).toBe('RecoveryCompleted');
    expect(await hashOf(recovered('web-2', 'vda'))).toBe(incremental.vda);
  });

  test('the same request twice is one recovery', async () => {
    const body = {
      requestId: 'worst-day',
      backup: full.backupId,
      host: HOST,
      vm: 'web-4',
      policy: 'proxies',
    };
    const first = await lab.ask('RecoveryRequested', body);
    const again = await lab.ask('RecoveryRequested', body);
    expect(first.recoveryId).toBeDefined();
    expect(again.recoveryId).toBe(first.recoveryId);
    await lab.closed(first.recoveryId ?? '');
    expect(ofType(await lab.story(first.recoveryId ?? ''), 'RecoveryTriggered')).toHaveLength(1);
  });
});

/** Proxies that held ports for a backup and for a recovery at the same position of the log. */
function proxiesHeldForBoth(events: readonly Recorded[]): Set<string> {
  const holders = new Map<string, { proxyId: string; purpose: string }>();
  const both = new Set<string>();
  for (const { type, data } of events) {
    if (type === 'PortsLeased') {
      const { proxyId, purpose } = data;
      for (const other of holders.values())
        if (other.proxyId === proxyId && other.purpose !== purpose) both.add(proxyId);
      holders.set(data.leaseId, { proxyId, purpose });
    } else if (type === 'PortsReleased') holders.delete(data.leaseId);
  }
  return both;
}

describe('a clear refusal', () => {
  test('when a VM of that name is there, and it is not touched', async () => {
    const recoveryId = await lab.recover(full.backupId, 'web', { policy: 'proxies' });
    const ended = await lab.ended(recoveryId);
    expect(ended).toMatchObject({
      type: 'RecoveryPlanRefused',
      data: { refusal: { code: 'VmExists', message: expect.stringContaining('web') } },
    });
    expect(await hashOf('web/vda.qcow2')).toBe(incremental.vda);
  });

  test('when there is no such restore point, or it has no such disk', async () => {
    const unknown = await lab.ask('RecoveryRequested', {
      backup: '11111111-1111-5111-8111-111111111111',
      host: HOST,
      vm: 'web-5',
    });
    expect(unknown).toMatchObject({ outcome: 'refused', refusal: { code: 'UnknownRestorePoint' } });
    const disk = await lab.ask('RecoveryRequested', {
      backup: full.backupId,
      host: HOST,
      vm: 'web-5',
      disks: ['vdz'],
    });
    expect(disk).toMatchObject({ outcome: 'refused', refusal: { message: expect.stringContaining('vdb') } });
  });
});

describe('killed in the middle of a recovery', () => {
  const completesWhole = async (recoveryId: string, vm: string): Promise<void> => {
    expect(await lab.ended(recoveryId, 90_000)).toMatchObject({ type: 'RecoveryCompleted' });
    await lab.closed(recoveryId);
    const story = await lab.story(recoveryId);
    nothingWasWrittenTwice(story);
    portsWereExclusive(story);
    everythingWasGivenBack(story);
    expect(await hashOf(recovered(vm, 'vda'))).toBe(incremental.vda);
    expect(await hashOf(recovered(vm, 'vdb'))).toBe(incremental.vdb);
  };

  test.each<Service>(['export', 'proxy-manager'])('%s goes on, and writes nothing twice', async (name) => {
    const vm = `after-${name}`;
    const recoveryId = await lab.recover(incremental.backupId, vm, { policy: 'proxies' });
    await lab.until(recoveryId, name === 'export' ? 'ChunkExported' : 'PortsLeased', 2);
    const service = lab.stack.services.get(name);
    await service?.kill();
    await service?.start();
    await completesWhole(recoveryId, vm);
  });

  test('a proxy costs only what had not been confirmed', async () => {
    const recoveryId = await lab.recover(incremental.backupId, 'after-proxy', { policy: 'proxies' });
    await lab.until(recoveryId, 'PortsLeased', 1);
    const [lease] = ofType(await lab.story(recoveryId), 'PortsLeased');
    await lab.killProxy(lease?.data.proxyId ?? '');
    await completesWhole(recoveryId, 'after-proxy');
  });

  test('NATS goes on', async () => {
    const recoveryId = await lab.recover(incremental.backupId, 'after-nats', { policy: 'proxies' });
    await lab.until(recoveryId, 'PortsLeased', 1);
    await lab.stack.nats?.kill();
    await lab.stack.nats?.restart();
    await completesWhole(recoveryId, 'after-nats');
  });
});

test('a damaged chunk ends the recovery, names what is damaged, offers the older point that is whole, and leaves nothing', async () => {
  await writeRandom(lab.image('web/vdb.qcow2'), 8 * MiB, 1 * MiB);
  const latest = { backupId: '', vda: '', vdb: '' };
  await backUp(latest);
  const [chunk] = ofType(await lab.story(latest.backupId), 'ChunkReceived').filter(
    ({ data }) => data.diskId === 'vdb' && data.storedBytes > 0,
  );
  const digest = chunk?.data.digest ?? '';
  const chunks = join(lab.stack.repository, 'chunks');
  const [file] = (await readdir(chunks, { recursive: true })).filter((name) => name.includes(digest));
  const path = join(chunks, file ?? '');
  const bytes = await readFile(path);
  bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 0xff;
  await writeFile(path, bytes);

  const recoveryId = await lab.recover(latest.backupId, 'never', { policy: 'proxies' });
  const ended = await lab.ended(recoveryId);
  expect(ended).toMatchObject({
    type: 'RecoveryFailed',
    data: { refusal: { message: expect.stringContaining(digest) } },
  });
  expect(ended.type === 'RecoveryFailed' && ended.data.refusal.message).toMatch(/vdb/);
  expect(ended.type === 'RecoveryFailed' && ended.data.alternative).toMatchObject({
    backupId: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
  await leftNothing(recoveryId, 'never');
});
