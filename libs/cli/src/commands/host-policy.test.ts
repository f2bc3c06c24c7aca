import { noHostPolicy } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { readLimits } from './host-policy.ts';

const read = (...settings: string[]) => readLimits(settings, noHostPolicy, 'A host policy');

test('limits are read as numbers, with units where they are bytes, and none takes one away', () => {
  expect(read('maxOpenSnapshots=4', 'bytesPerSecond=100MiB', 'maxRuns=none')).toEqual({
    maxOpenSnapshots: 4,
    bytesPerSecond: 104_857_600,
    maxRuns: null,
  });
});

test('what is no limit is refused with what would be one', () => {
  expect(() => read('maxRuns')).toThrow(/field=value/);
  expect(() => read('maxSnapshots=4')).toThrow(/no field maxSnapshots. Known: maxRuns, maxOpenSnapshots/);
  for (const wrong of ['maxRuns=0', 'maxRuns=1.5', 'maxRuns=many', 'bytesPerSecond=fast'])
    expect(() => read(wrong)).toThrow(/whole number from 1/);
});
