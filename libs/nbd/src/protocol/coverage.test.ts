import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Coverage } from './coverage.ts';

test('a range is accepted exactly when every byte of it is inside and new, and all bytes make it complete', () => {
  const ranges = fc.array(fc.tuple(fc.integer({ min: -2, max: 26 }), fc.nat(10)), { maxLength: 40 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 24 }), ranges, (length, list) => {
      const coverage = new Coverage(length);
      const seen = new Set<number>();
      for (const [start, size] of list) {
        const bytes = Array.from({ length: size }, (_, i) => start + i);
        const isNew = size > 0 && bytes.every((byte) => byte >= 0 && byte < length && !seen.has(byte));
        expect(coverage.add(start, size)).toBe(isNew);
        if (isNew) for (const byte of bytes) seen.add(byte);
        expect(coverage.isComplete).toBe(seen.size === length);
      }
    }),
    { numRuns: 500 },
  );
});
