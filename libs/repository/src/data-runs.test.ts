import { KiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { dataRuns } from './data-runs.ts';

const disk = (...parts: readonly (readonly [length: number, value: number])[]): Uint8Array =>
  Buffer.concat(parts.map(([length, value]) => Buffer.alloc(length, value)));

test('zeros that fill whole units of the disk are left out, others are data', () => {
  const data = disk([64 * KiB, 1], [128 * KiB, 0], [KiB, 2], [63 * KiB, 0], [64 * KiB, 0]);
  expect([...dataRuns(0, data)]).toEqual([
    { offset: 0, length: 64 * KiB },
    { offset: 192 * KiB, length: 64 * KiB },
  ]);
});

test('units are those of the disk, wherever the data begins', () => {
  const data = disk([32 * KiB, 0], [64 * KiB, 3], [32 * KiB, 0]);
  expect([...dataRuns(96 * KiB, data)]).toEqual([{ offset: 128 * KiB, length: 64 * KiB }]);
  expect([...dataRuns(64 * KiB, data)]).toEqual([{ offset: 64 * KiB, length: 128 * KiB }]);
});

test('nothing but zeros is nothing to write', () => {
  expect([...dataRuns(KiB, new Uint8Array(300 * KiB))]).toEqual([]);
});
