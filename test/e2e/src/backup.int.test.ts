/** The main job, by real parts: requests on NATS, four services, storage daemons as proxies, a repository on disk. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bitmapsOf, copyOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, nothingWasReadTwice, ofType, portsWereExclusive } from './log-checks.ts';

let lab: Lab;
const vda = () => lab.image('web/vda.qcow2');

beforeAll(async () => {
  lab = await openLab();
  await makeImage(vda(), 256 * MiB);
  await writeRandom(vda(), 0, 96 * MiB);
  await writeRandom(vda(), 200 * MiB, 8 * MiB);
  await makeImage(lab.image('web/vdb.raw'), 32 * MiB);
  await writeRandom(lab.image('web/vdb.raw'), 4 * MiB, 12 * MiB);
  await makeImage(lab.image('db.qcow2'), 64 * MiB);
  await writeRandom(lab.image('db.qcow2'), 0, 48 * MiB);
  await lab.definePolicy('proxies', {
    childJobBytes: 16 * MiB,
    maxPortsPerProxy: 2,
    maxChildJobsPerProxy: 2,
    maxProxiesPerHost: 2,
    fullThresholdBytes: 32 * MiB,
    incrementalThresholdBytes: 64 * MiB,
    proxyIdleSeconds: 30,
  });
});
afterAll(() => lab?.close());

test('a full goes through the calculated proxies in waves, and its restore equals the disks, byte for byte', async () => {
  const copies = [
    await copyOf(vda(), lab.image('../vda.copy')),
    await copyOf(lab.image('web/vdb.raw'), lab.image('../vdb.copy')),
  ];
  const backupId = await lab.backup('web', { policy: 'proxies' });
  expect(await lab.ended(backupId)).toMatchObject({
    type: 'BackupCompleted',
    data: { kind: 'full', mode: 'proxy-vm' },
  });
  await lab.closed(backupId);
  const story = await lab.story(backupId);

  const [plan] = ofType(story, 'ProxiesCalculated');
  // 104 MiB and 12 MiB in jobs of 16 MiB: 7 + 1; 2 jobs per proxy: 4 proxies, of which the host allows 2.
  expect(plan?.data).toMatchObject({
    proxiesCalculated: 4,
    proxies: 2,
    waves: 2,
    arithmetic: { childJobs: 8, capacityPerProxy: 2 },
  });
  expect(ofType(story, 'ProxiesActivated')[0]?.data.proxies).toHaveLength(2);
  expect(portsWereExclusive(story)).toBe(4);
  expect(Math.max(...ofType(story, 'PortsLeased').map(({ data }) => data.wave))).toBe(2);
  nothingWasReadTwice(story);
  everythingWasGivenBack(story);

  expect(await sha256Of(await lab.restore(backupId, 'vda'))).toBe(await sha256Of(copies[0] ?? ''));
  expect(await sha256Of(await lab.restore(backupId, 'vdb'))).toBe(await sha256Of(copies[1] ?? ''));
});

test('an incremental reads the changed bytes and no others, and its restore equals the disk as it was then', async () => {
  await writeRandom(vda(), 1 * MiB, 1 * MiB);
  await writeRandom(vda(), 40 * MiB + 65536, 65536);
  await writeRandom(vda(), 250 * MiB, 3 * MiB);
  const copy = await copyOf(vda(), lab.image('../vda.copy'));
  const backupId = await lab.backup('web', { policy: 'proxies' });
  const ended = await lab.ended(backupId);
  expect(ended).toMatchObject({
    type: 'BackupCompleted',
    data: { kind: 'incremental', mode: 'direct-to-host' },
  });
  await lab.closed(backupId);
  const story = await lab.story(backupId);

  const disks = ofType(story, 'ProxiesCalculated')[0]?.data.disks;
  expect(disks?.find(({ diskId }) => diskId === 'vda')).toMatchObject({
    kind: 'incremental',
    bytesToRead: 4 * MiB + 65536,
  });
  expect(disks?.find(({ diskId }) => diskId === 'vdb')).toMatchObject({
    kind: 'full',
    kindReason: expect.stringMatching(/raw/),
  });
  const readOf = (diskId: string): number =>
    ofType(story, 'ChunkReceived')
      .filter(({ data }) => data.diskId === diskId)
      .reduce((sum, { data }) => sum + data.readBytes, 0);
  expect(readOf('vda')).toBe(4 * MiB + 65536);
  // The raw disk did not change: all of it was there already.
  expect(
    ofType(story, 'ChunkReceived').filter(({ data }) => data.diskId === 'vdb' && data.storedBytes > 0),
  ).toEqual([]);
  expect(await sha256Of(await lab.restore(backupId, 'vda'))).toBe(await sha256Of(copy));
  expect(await bitmapsOf(vda())).toEqual([`backhaul-${backupId}.vda`]);
});

test('the proxies that are up serve a second VM too', async () => {
  const [web, db] = await Promise.all([
    lab.backup('web', { policy: 'proxies', kind: 'full' }),
    lab.backup('db', { policy: 'proxies', kind: 'full' }),
  ]);
  expect((await lab.ended(web)).type).toBe('BackupCompleted');
  expect((await lab.ended(db)).type).toBe('BackupCompleted');
  await Promise.all([lab.closed(web), lab.closed(db)]);
  const proxiesOf = async (backupId: string) =>
    new Set(ofType(await lab.story(backupId), 'PortsLeased').map(({ data }) => data.proxyId));
  expect((await proxiesOf(web)).intersection(await proxiesOf(db)).size).toBeGreaterThan(0);
  const both = [...(await lab.story(web)), ...(await lab.story(db))].sort((a, b) => a.position - b.position);
  portsWereExclusive(both);
});

test('the same request twice, over NATS and over HTTP, is one backup', async () => {
  const body = { requestId: 'nightly-1', host: HOST, vm: 'db', policy: 'proxies' };
  const first = await lab.ask('BackupRequested', body);
  const again = await lab.ask('BackupRequested', body);
  const http = await lab.fetch('trigger', '/api/v1/backups', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(first.backupId).toBeDefined();
  expect(again.backupId).toBe(first.backupId);
  expect(await http.json()).toMatchObject({ backupId: first.backupId });
  await lab.closed(first.backupId ?? '');
  expect(ofType(await lab.story(first.backupId ?? ''), 'BackupTriggered')).toHaveLength(1);
});

describe('bad input', () => {
  test('a request that does not fit its contract is refused, naming the field', async () => {
    const answer = await lab.ask('BackupRequested', {
      requestId: 'bad-1',
      host: HOST,
      vm: 'no spaces allowed',
    });
    expect(answer).toMatchObject({ outcome: 'refused', refusal: { message: expect.stringContaining('vm') } });
  });

  test('an unknown host is refused by name', async () => {
    const answer = await lab.ask('BackupRequested', { host: 'elsewhere', vm: 'web' });
    expect(answer).toMatchObject({
      outcome: 'refused',
      refusal: { message: expect.stringContaining('elsewhere') },
    });
  });

  test.each([
    ['an unknown VM', 'nobody', undefined, /nobody/],
    ['a corrupt image', 'corrupt', undefined, /corrupt/i],
    ['a policy that allows no child job', 'db', 'none', /port/i],
  ])(
    '%s ends in a refusal with its reason, and leaves nothing running',
    async (_what, vm, policy, reason) => {
      await makeImage(lab.image('corrupt.qcow2'), 8 * MiB);
      const { open } = await import('node:fs/promises');
      const file = await open(lab.image('corrupt.qcow2'), 'r+');
      await file.write(Buffer.alloc(64, 0xee), 0, 64, 8);
      await file.close();
      await lab.definePolicy('none', { maxPortsPerProxy: 1, portsPerChildJob: 2 });
      const backupId = await lab.backup(vm, policy === undefined ? {} : { policy });
      const ended = await lab.ended(backupId);
      expect(ended.type).toBe('PlanRefused');
      expect(JSON.stringify(ended.data)).toMatch(reason);
      expect(await readdir(join(lab.stack.stateDirectory, HOST, 'snapshots')).catch(() => [])).toEqual([]);
    },
  );
});

test('a graceful stop in mid-backup loses nothing: every service ends with 0, and the backup completes after the start', async () => {
  await writeRandom(vda(), 96 * MiB, 64 * MiB);
  const copy = await copyOf(vda(), lab.image('../vda.copy'));
  const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
  await lab.until(backupId, 'ChunkReceived', 4);
  const codes = await Promise.all([...lab.stack.services.values()].map((service) => service.stop()));
  expect(codes).toEqual([0, 0, 0, 0, 0, 0]);
  await Promise.all([...lab.stack.services.values()].map((service) => service.start()));
  expect((await lab.ended(backupId)).type).toBe('BackupCompleted');
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  nothingWasReadTwice(story);
  portsWereExclusive(story);
  expect(await sha256Of(await lab.restore(backupId, 'vda'))).toBe(await sha256Of(copy));
});
