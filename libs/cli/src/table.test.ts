import { expect, test } from 'vitest';
import { duration, moment, table } from './table.ts';

test('columns are as wide as their widest cell, and what is not known is a dash', () => {
  const lines = table(
    [
      { title: 'VM', value: (row: { vm: string; bytes: number | null }) => row.vm },
      { title: 'BYTES', value: (row) => row.bytes, right: true },
    ],
    [
      { vm: 'web-1', bytes: 12 },
      { vm: 'a', bytes: null },
    ],
  );
  expect(lines).toEqual(['VM     BYTES', 'web-1     12', 'a          -']);
});

test('durations are told in the unit that fits', () => {
  expect([120, 12_340, 247_000].map(duration)).toEqual(['120 ms', '12.3 s', '4 min 07 s']);
});

test('instants are told to the second', () => {
  expect(moment('2026-01-01T12:00:05.123Z')).toBe('2026-01-01 12:00:05');
});
