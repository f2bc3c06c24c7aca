import { expect, test } from 'vitest';
import { DigestSet } from './digest-set.ts';
import { digestOf } from './format/chunk-file.ts';

test('a digest is new once, however many there are', () => {
  const set = new DigestSet();
  const digests = Array.from({ length: 20_000 }, (_, n) => digestOf(Buffer.from(String(n))));
  expect(digests.every((digest) => set.add(digest))).toBe(true);
  expect(digests.some((digest) => set.add(digest))).toBe(false);
  expect(set.size).toBe(20_000);
  expect([set.add('0'.repeat(64)), set.add('0'.repeat(64))]).toEqual([true, false]);
});
