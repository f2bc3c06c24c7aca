import { GiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { judgeTracking, type ParentDisk, type TrackedImage } from './change-tracking.ts';

const identity = { format: 'qcow2', inode: '17', sizeBytes: GiB };
const checkpoint = 'backhaul-b1';
const parent: ParentDisk = { checkpoint, identity };
const bitmap = { name: checkpoint, granularity: 65_536, recording: true, inconsistent: false };
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

  const doubts: [string, Partial<TrackedImage>, ParentDisk | null | undefined][] = [
    ['NoParent', {}, undefined],
    ['DiskNotInParent', {}, null],
    ['FormatWithoutTracking', { withoutTracking: 'disk vda is a raw image' }, parent],
    ['ParentHasNoCheckpoint', {}, { ...parent, checkpoint: null }],
    ['ImageReplaced', { identity: { ...identity, inode: '18' } }, parent],
    ['ImageReplaced', {}, { ...parent, identity: { ...identity, format: 'raw' } }],
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
