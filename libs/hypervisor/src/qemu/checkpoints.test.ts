import { expect, test } from 'vitest';
import { judge } from './checkpoints.ts';
import { diskOfExport, exportIdOf, exportNameOf, nodesOf } from './node-names.ts';
import type { VmDisk } from './vm-disks.ts';

const identity = { format: 'qcow2', inode: '7', sizeBytes: 1024 };
const bitmap = { name: 'backhaul-1', granularity: 65_536, recording: true, inconsistent: false, busy: false };
const disk: VmDisk = {
  diskId: 'vda',
  device: '/machine/peripheral/vda/virtio-backend',
  rootNode: 'image',
  node: 'image',
  format: 'qcow2',
  sizeBytes: 1024,
  readOnly: false,
  detectsZeroes: false,
  identity,
  storage: undefined,
  keepsBitmaps: true,
  bitmaps: [bitmap],
};
const parent = { checkpoint: 'backhaul-1', identity };

test('a checkpoint of which nothing speaks ill is usable', () => {
  expect(judge(disk, parent)).toEqual({ state: 'usable', checkpoint: 'backhaul-1' });
});

test('a bitmap at work elsewhere, and a disk that others write, are doubted with their reason', () => {
  expect(judge({ ...disk, bitmaps: [{ ...bitmap, busy: true }] }, parent)).toMatchObject({
    code: 'CheckpointBusy',
    reason: expect.stringContaining('backhaul-1'),
  });
  expect(judge({ ...disk, readOnly: true }, parent)).toMatchObject({ code: 'FormatWithoutTracking' });
});

test('names in QEMU lead back to their snapshot and disk, and fit', () => {
  const key = { snapshotId: '3f0c8b52-6d0e-5c1b-9a55-0d6f0e6f6c01', diskId: `d${'x'.repeat(62)}` };
  for (const name of Object.values(nodesOf(key))) expect(name.length).toBeLessThanOrEqual(31);
  expect(new Set(Object.values(nodesOf(key))).size).toBe(Object.values(nodesOf(key)).length);
  expect(diskOfExport(exportIdOf(key))).toEqual(key);
  expect(exportNameOf(key)).toBe(`${key.snapshotId}.${key.diskId}`);
  expect(diskOfExport('somebody-elses')).toBeUndefined();
});
