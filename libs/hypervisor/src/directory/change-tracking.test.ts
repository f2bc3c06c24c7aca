import { GiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import {
  checkpointOf,
  isCheckpointOf,
  judgeTracking,
  type ParentDisk,
  type TrackedImage,
} from './change-tracking.ts';

const identity = { format: 'qcow2', inode: '17', sizeBytes: GiB };
const checkpoint = 'backhaul-b1';
const parent: ParentDisk = { checkpoint, identity };
const bitmap = { name: checkpoint, granularity: 65_536, recording: true, inconsistent: false };
const born = (inode: string): Partial<TrackedImage> => ({ identity: { ...identity, inode } });
const image: TrackedImage = {
  diskId: 'vda',
  sizeBytes: GiB,
  identity,
  withoutTracking: null,
  bitmaps: [bitmap],
};

describe('change tracking', () => {
  test('is usable when nothing speaks against it', () => {
    expect(judgeTracking(image, parent)).toEqual({ state: 'usable', checkpoint });
  });

  test.each(['17', '17+1', '17+1<5@9', '17+1<5+2@9'])('counts births where both know them (%s)', (inode) => {
    const before = { ...parent, identity: { ...identity, inode: inode.replace(/\+\d+/, '') } };
    expect(judgeTracking({ ...image, ...born(inode) }, before)).toMatchObject({ state: 'usable' });
  });

  test('has the disk in the name of a checkpoint, and knows those of earlier releases', () => {
    expect(checkpointOf('b1', 'vda')).toBe('backhaul-b1.vda');
    const names = ['backhaul-b1.vda', 'backhaul-b1', 'backhaul-b10.vda', 'backhaul-at-b1'];
    expect(names.map((name) => isCheckpointOf(name, 'b1'))).toEqual([true, true, false, false]);
  });

  const doubts: [string, Partial<TrackedImage>, ParentDisk | null | undefined][] = [
    ['NoParent', {}, undefined],
    ['DiskNotInParent', {}, null],
    ['FormatWithoutTracking', { withoutTracking: 'disk vda is a raw image' }, parent],
    ['ParentHasNoCheckpoint', {}, { ...parent, checkpoint: null }],
    ['ImageReplaced', { identity: { ...identity, inode: '18' } }, parent],
    ['ImageReplaced', {}, { ...parent, identity: { ...identity, format: 'raw' } }],
    ['ImageReplaced', { identity: { ...identity, inode: '17<5@9' } }, parent],
    ['ImageReplaced', born('17+2'), { ...parent, identity: { ...identity, inode: '17+1' } }],
    ['ImageReplaced', born('17+1<5+2@9'), { ...parent, identity: { ...identity, inode: '17+1<5+3@9' } }],
    ['FormatWithoutTracking', born('17<nbd://base/vda'), parent],
    ['SizeChanged', { sizeBytes: 2 * GiB }, parent],
    ['CheckpointAbsent', { bitmaps: [] }, parent],
    ['CheckpointAbsent', { bitmaps: [{ ...bitmap, name: 'backhaul-b0' }] }, parent],
    ['CheckpointInconsistent', { bitmaps: [{ ...bitmap, inconsistent: true }] }, parent],
    ['CheckpointDisabled', { bitmaps: [{ ...bitmap, recording: false }] }, parent],
    ['GranularityChanged', { bitmaps: [{ ...bitmap, granularity: 4096 }] }, parent],
  ];
  test.each(doubts)('is %s, with a reason that names the disk', (code, differing, before) => {
    const judgement = judgeTracking({ ...image, ...differing }, before);
    expect(judgement).toMatchObject({ state: 'unusable', code });
    expect(judgement.state === 'unusable' && judgement.reason).toContain('disk vda');
  });
});
