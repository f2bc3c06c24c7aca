/**
 * Instant recovery, by real parts: a VM boots from a restore point at once, its guest writes records without a pause, and its disks are filled
 * behind it, through the death of whoever has to do with that. And a restore point that is damaged.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { lastRecordOf, makeWritingDisk } from '@backhaul/appliance';
import { withQmp } from '@backhaul/hypervisor';
import { eventually, KiB, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyOf, dataBytesOf, makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType } from './log-checks.ts';

const run = promisify(execFile);
const SHELF = 'shelf';
const patience = 90_000;
const DATA_BYTES = 40 * MiB;
/** Records between two lines on the guest's console. */
const TELL = 20;
let own: string;
let lab: Lab;
let backupId: string;

const onShelf = (disk: string): string => join(own, 'images', 'web', `${disk}.qcow2`);
const folderOf = (vm: string): string => join(own, 'vms', 'vms', vm);
const recovered = (vm: string, disk: string): string => join(folderOf(vm), `${disk}.qcow2`);
/** Of a process that was killed a thread may live on for a moment, and hold the image. */
const inFull = (image: string): Promise<string> =>
  eventually(`A copy of ${image}`, patience, () =>
    copyOf(image, `${image}.raw`).catch((error: unknown) => {
      if (/lock/.test(String(error))) return undefined;
      throw error;
    }),
  );

/** What the guest says on its console: a number for every so many records. */
async function linesOf(vm: string): Promise<number[]> {
  const text = await readFile(join(folderOf(vm), 'console.log'), 'utf8').catch(() => '');
  return [...text.matchAll(/written (\d+)/g)].map(([, records]) => Number(records) / TELL);
}
const hasWritten = (vm: string, lines: number): Promise<true> =>
  eventually(`${lines} lines of ${vm}`, patience, async () =>
    ((await linesOf(vm)).at(-1) ?? 0) >= lines ? true : undefined,
  );
const processOf = async (vm: string): Promise<number> =>
  JSON.parse(await readFile(join(folderOf(vm), 'pid.json'), 'utf8')).pid;
async function end(vm: string): Promise<void> {
  const pid = await processOf(vm);
  process.kill(pid, 'SIGKILL');
  await eventually(`The end of ${vm}`, patience, async () =>
    // A zombie has let go of its images.
    /^$|\) Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')) ? true : undefined,
  );
}

/** Bytes per second: no guest is so slow to boot that its disks are filled before it writes. */
const SLOWLY = 192 * KiB;
/** Says so again and again until it has come about: of a VM that was just started again the fill is not there at once. */
const fillFaster = (vm: string, recoveryId: string): Promise<true> =>
  eventually(
    `The disks of ${vm} being filled`,
    patience,
    async () => {
      // A job that is not there yet, or is about to end, takes no speed; a VM that comes up may not answer yet.
      await withQmp({ path: join(own, 'vms', `${vm}.qmp`), target: vm }, async (qmp) => {
        for (const device of ['fill-vda', 'fill-vdb'])
          await qmp
            .execute('block-job-set-speed', { arguments: { device, speed: 0 } })
            .catch(() => undefined);
      }).catch(() => undefined);
      return ofType(await lab.story(recoveryId), 'TargetFilled').length > 0 ? true : undefined;
    },
    500,
  );

beforeAll(async () => {
  own = await mkdtemp(join(tmpdir(), 'bi-'));
  for (const folder of ['images/web', 'vms']) await mkdir(join(own, folder), { recursive: true });
  await makeWritingDisk(join(own, 'system.raw'), TELL);
  await makeImage(onShelf('vda'), 32 * MiB);
  await copyInto(join(own, 'system.raw'), onShelf('vda'));
  await makeImage(onShelf('vdb'), DATA_BYTES);
  await writeRandom(onShelf('vdb'), 4 * MiB, 28 * MiB);
  lab = await openLab({
    hosts: [
      { hostId: SHELF, kind: 'directory', address: join(own, 'images') },
      { hostId: HOST, kind: 'qemu', address: join(own, 'vms') },
    ],
  });
  backupId = await lab.backup('web', { host: SHELF });
  expect((await lab.ended(backupId)).type).toBe('BackupCompleted');
  await lab.closed(backupId);
});
afterAll(async () => {
  for (const vm of await readdir(join(own, 'vms', 'vms')).catch(() => []))
    await end(vm).catch(() => undefined);
  await lab?.close();
  await rm(own, { recursive: true, force: true });
});

async function copyInto(raw: string, image: string): Promise<void> {
  await rm(image);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image]);
}

/** Every 4 KiB is as the restore point has it, or of a record that the guest has written. How many are. */
async function recordsOver(image: string, restorePoint: string): Promise<number> {
  const [now, before] = await Promise.all([readFile(image), readFile(restorePoint)]);
  let records = 0;
  for (let at = 0; at < DATA_BYTES; at += 4 * KiB) {
    const is = now.subarray(at, at + 4 * KiB);
    if (is.equals(before.subarray(at, at + 4 * KiB))) continue;
    expect(is.toString('latin1', 0, 16), `at ${at}`).toMatch(/^\d{15}\n$/);
    records += 1;
  }
  return records;
}

test('a VM runs and writes before its disks are filled, through the death of export and proxy-manager, and never stops', async () => {
  const truth = await inFull(onShelf('vdb'));
  const recoveryId = await lab.recover(backupId, 'web-2', {
    instant: true,
    fillBytesPerSecond: SLOWLY,
    machine: { memoryMiB: 160 },
  });
  await lab.until(recoveryId, 'TargetKept', 1);
  const pid = await processOf('web-2');
  await hasWritten('web-2', 1);
  // Somebody may work in it by now: it is neither taken back nor held up.
  for (const order of ['RecoveryCancellationRequested', 'RecoveryPauseRequested'])
    expect(await lab.ask(order, { recoveryId })).toMatchObject({
      ...{ outcome: 'refused', refusal: { code: 'TooLate' } },
    });
  for (const name of ['export', 'proxy-manager'] as const) {
    expect(ofType(await lab.story(recoveryId), 'TargetFilled')).toEqual([]);
    const service = lab.stack.services.get(name);
    await service?.kill();
    await service?.start();
  }
  await fillFaster('web-2', recoveryId);
  expect(await lab.ended(recoveryId, patience)).toMatchObject({
    type: 'RecoveryCompleted',
    data: { started: true, totals: { diskBytes: 32 * MiB + DATA_BYTES } },
  });
  await lab.closed(recoveryId);
  await lab.until(recoveryId, 'MountClosed', 1);

  // It has nothing of the mount any more, and goes on as if nothing had been.
  const written = (await linesOf('web-2')).at(-1) ?? 0;
  await hasWritten('web-2', written + 1);
  expect(await processOf('web-2')).toBe(pid);
  const lines = await linesOf('web-2');
  expect(lines).toEqual(lines.map((_, index) => index + 1));
  await end('web-2');
  // Converted with no mount there to read from.
  expect(await readdir(join(lab.stack.stateDirectory, 'mounts'))).toEqual([]);
  const data = await inFull(recovered('web-2', 'vdb'));
  expect(await lastRecordOf(data)).toBeGreaterThanOrEqual(TELL * (written + 1));
  expect(await recordsOver(data, truth)).toBeGreaterThan(TELL);
  expect(await sha256Of(await inFull(recovered('web-2', 'vda')))).toBe(
    await sha256Of(join(own, 'system.raw')),
  );
  // The guest does not write to this one: what was a hole is one.
  expect(await dataBytesOf(recovered('web-2', 'vda'))).toBeLessThan(32 * MiB);

  const story = await lab.story(recoveryId);
  everythingWasGivenBack(story);
  const types = story.map(({ type }) => type);
  expect(types.indexOf('TargetKept')).toBeLessThan(types.indexOf('TargetFilled'));
  expect(ofType(story, 'FillProgressed').length).toBeGreaterThan(2);
  expect(ofType(story, 'FillInterrupted')).toEqual([]);
  expect(ofType(story, 'ProxyActivationRequested')).toEqual([]);
});

test('a VM that is killed while its disks are filled is started again, and its disks are filled', async () => {
  const truth = await inFull(onShelf('vdb'));
  const recoveryId = await lab.recover(backupId, 'web-5', {
    instant: true,
    fillBytesPerSecond: SLOWLY,
    machine: { memoryMiB: 160 },
  });
  await lab.until(recoveryId, 'TargetKept', 1);
  await hasWritten('web-5', 1);
  await lab.until(recoveryId, 'FillProgressed', 2);
  expect(ofType(await lab.story(recoveryId), 'TargetFilled')).toEqual([]);
  const killed = await processOf('web-5');
  const before = await linesOf('web-5');
  await end('web-5');

  await lab.until(recoveryId, 'FillInterrupted', 1);
  // The guest boots again from what is filled and what is not, and goes on writing.
  await eventually('Lines of the guest after its death', patience, async () =>
    (await linesOf('web-5')).length > before.length ? true : undefined,
  );
  expect(await processOf('web-5')).not.toBe(killed);
  await fillFaster('web-5', recoveryId);
  expect(await lab.ended(recoveryId, patience)).toMatchObject({ type: 'RecoveryCompleted' });
  await lab.closed(recoveryId);
  await lab.until(recoveryId, 'MountClosed', 1);
  await end('web-5');

  const story = await lab.story(recoveryId);
  everythingWasGivenBack(story);
  expect(ofType(story, 'TargetFilled')).toHaveLength(1);
  expect(ofType(story, 'FillInterrupted')[0]?.data.reason).toMatch(/web-5 .*has ended/);
  expect(await recordsOver(await inFull(recovered('web-5', 'vdb')), truth)).toBeGreaterThan(TELL);
  expect(await sha256Of(await inFull(recovered('web-5', 'vda')))).toBe(
    await sha256Of(join(own, 'system.raw')),
  );
});

test('a restore point that turns out damaged ends the recovery with the reason, and its VM is left to who works in it', async () => {
  const [chunk] = ofType(await lab.story(backupId), 'ChunkReceived').filter(
    ({ data }) => data.diskId === 'vdb' && data.storedBytes > 0,
  );
  const digest = chunk?.data.digest ?? '';
  const chunks = join(lab.stack.repository, 'chunks');
  const [file = ''] = (await readdir(chunks, { recursive: true })).filter((name) => name.endsWith(digest));
  const bytes = await readFile(join(chunks, file));
  bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 0xff;
  await writeFile(join(chunks, file), bytes);
  // What it has unpacked it need not read again.
  const service = lab.stack.services.get('export');
  await service?.kill();
  await service?.start();

  const recoveryId = await lab.recover(backupId, 'web-3', { instant: true, machine: { memoryMiB: 160 } });
  expect(await lab.ended(recoveryId, patience)).toMatchObject({
    type: 'RecoveryFailed',
    data: { refusal: { code: 'RestorePointDamaged', message: expect.stringContaining(digest) } },
  });
  // It is not taken from under its guest, whatever that makes of the I/O errors.
  expect(await readFile(`/proc/${await processOf('web-3')}/cmdline`, 'utf8')).toContain('web-3');
  expect(ofType(await lab.story(recoveryId), 'RunClosed')).toEqual([]);
  await end('web-3');
  await lab.closed(recoveryId);
  await lab.until(recoveryId, 'MountClosed', 1);
  const story = await lab.story(recoveryId);
  expect(ofType(story, 'TargetLeft')).toHaveLength(1);
  everythingWasGivenBack(story);
  expect(await readdir(folderOf('web-3'))).toEqual(expect.arrayContaining(['vda.qcow2', 'vdb.qcow2']));
});

test('one that is cancelled before its VM runs leaves nothing, not even a mount', async () => {
  const service = lab.stack.services.get('export');
  await service?.kill();
  const recoveryId = await lab.recover(backupId, 'web-6', { instant: true, machine: { memoryMiB: 160 } });
  await lab.until(recoveryId, 'ActivationRequested', 1);
  expect(await lab.ask('RecoveryCancellationRequested', { recoveryId })).toMatchObject({
    outcome: 'accepted',
  });
  await service?.start();
  expect(await lab.ended(recoveryId)).toMatchObject({
    data: { refusal: { code: 'RecoveryCancelled' } },
  });
  await lab.closed(recoveryId);
  // Export may have heard of the plan before it heard of the end.
  const story = await eventually('Every mount being closed', patience, async () => {
    const told = await lab.story(recoveryId);
    const [asked, closed] = [ofType(told, 'MountRequested'), ofType(told, 'MountClosed')];
    return closed.length >= asked.length ? told : undefined;
  });
  everythingWasGivenBack(story);
  expect(ofType(story, 'TargetKept')).toEqual([]);
  expect(await readdir(join(own, 'vms', 'vms'))).not.toContain('web-6');
});

test('a host that starts no VMs refuses, with a way out', async () => {
  const recoveryId = await lab.recover(backupId, 'web-4', { host: SHELF, instant: true });
  expect(await lab.ended(recoveryId)).toMatchObject({
    type: 'RecoveryPlanRefused',
    data: { refusal: { code: 'InstantUnavailable', wayOut: expect.stringMatching(/kind qemu/) } },
  });
});
