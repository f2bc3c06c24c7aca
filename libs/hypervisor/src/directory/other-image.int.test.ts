/**
 * Other contents under a name and a checkpoint that look right, through real images: whatever its bitmap says, an image that is not
 * the one of the parent is a full.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, rename, rm, stat } from 'node:fs/promises';
import type { RestorePoint } from '@backhaul/contracts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HypervisorHost } from '../host.ts';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { type ImageFolder, makeImageFolder } from '../testing/image-folder.ts';

const VDA = 'web/vda.qcow2';
const VDB = 'web/vdb.qcow2';

let images: ImageFolder;
let host: HypervisorHost;
beforeEach(async () => {
  images = await makeImageFolder();
  await images.create(VDA, '16M');
  await images.guest(VDA, 'write -P 1 0 8M');
  await images.create(VDB, '16M');
  await images.guest(VDB, 'write -P 2 0 8M');
  host = await images.open();
});
afterEach(async () => {
  await images?.remove();
});

const backedUp = async (): Promise<RestorePoint> => {
  const snapshotId = randomUUID();
  const of = { kind: 'full' as const, parentCheckpoint: null, parentIdentity: null };
  const disks = ['vda', 'vdb'].map((diskId) => ({ diskId, ...of }));
  const snapshot = must(await host.takeSnapshot({ snapshotId, vmId: 'web', disks }));
  await host.releaseSnapshot(snapshotId, 'web', 'committed');
  return restorePointOf(randomUUID(), snapshot);
};

/** What the look and the snapshot each make of the disk vda. */
async function kindsOf(parent: RestorePoint): Promise<unknown[]> {
  const [looked] = must(await host.inspect('web', parent)).disks;
  const [frozen] = must(await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', parent))).disks;
  return [looked?.tracking.state === 'unusable' ? looked.tracking.code : 'usable', frozen?.kind];
}

test('a disk that another disk of the VM was copied over is a full', async () => {
  const parent = await backedUp();
  // The same inode, size and format, and a checkpoint of the same backup.
  await copyFile(images.path(VDB), images.path(VDA));
  expect(await kindsOf(parent)).toEqual(['CheckpointAbsent', 'full']);
});

test('two disks whose images were swapped are fulls, also where each file system has one inode number for both', async () => {
  const parent = await backedUp();
  // In place: all that is known of each file is as it was.
  await copyFile(images.path(VDA), images.path('aside'));
  await copyFile(images.path(VDB), images.path(VDA));
  await copyFile(images.path('aside'), images.path(VDB));
  const { disks } = must(await host.inspect('web', parent));
  expect(disks.map(({ tracking }) => tracking.state)).toEqual(['unusable', 'unusable']);
});

test('an image that was removed, and made anew where its inode was free again, is a full', async () => {
  await images.create('other.qcow2', '16M');
  await images.guest('other.qcow2', 'write -P 3 0 8M');
  const parent = await backedUp();
  await images.img('bitmap', '--add', images.path('other.qcow2'), parent.disks[0]?.checkpoint ?? '');
  const { ino } = await stat(images.path(VDA));
  await rm(images.path(VDA));
  for (let tries = 0; tries < 50; tries += 1) {
    await copyFile(images.path('other.qcow2'), images.path(VDA));
    if ((await stat(images.path(VDA))).ino === ino) break;
    if (tries < 49) await rename(images.path(VDA), images.path(`another-${tries}`));
  }
  expect(await kindsOf(parent)).toEqual(['ImageReplaced', 'full']);
});

test('an image based on what is no file here has no change tracking: nobody would tell if that changed', async () => {
  const device = images.path('device');
  await images.img('create', '-q', '-f', 'raw', device, '16M');
  const base = `json:{"driver":"raw","offset":0,"file":{"driver":"file","filename":"${device}"}}`;
  await images.img(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    base,
    '-F',
    'raw',
    images.path('web/vdc.qcow2'),
    '16M',
  );
  const snapshotId = randomUUID();
  const of = { kind: 'full' as const, parentCheckpoint: null, parentIdentity: null };
  const snapshot = must(
    await host.takeSnapshot({ snapshotId, vmId: 'web', disks: [{ diskId: 'vdc', ...of }] }),
  );
  await host.releaseSnapshot(snapshotId, 'web', 'committed');
  const { disks } = must(await host.inspect('web', restorePointOf(randomUUID(), snapshot)));
  expect(disks[2]?.tracking).toMatchObject({ code: 'FormatWithoutTracking' });
});
