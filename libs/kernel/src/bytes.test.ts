import { expect, test } from 'vitest';
import { formatBytes, GiB, MiB, parseBytes } from './bytes.ts';

test('sizes are written for people', () => {
  expect([0, 512, 1536, 4 * MiB, 1.5 * GiB].map(formatBytes)).toEqual([
    '0 B',
    '512 B',
    '1.5 KiB',
    '4 MiB',
    '1.5 GiB',
  ]);
});

test('sizes are read as people write them, and nonsense is not a size', () => {
  expect(['4096', '64MiB', '1.5 GiB', '2g', '0'].map(parseBytes)).toEqual([
    4096,
    64 * MiB,
    1.5 * GiB,
    2 * GiB,
    0,
  ]);
  expect(['', 'many', '-1', '1.5', '4 XB'].map(parseBytes)).toEqual(Array(5).fill(undefined));
});
