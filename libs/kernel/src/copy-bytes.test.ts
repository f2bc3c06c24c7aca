import fc from 'fast-check';
import { expect, test } from 'vitest';
import { copyBytes } from './copy-bytes.ts';

test('the bytes arrive where they belong and nowhere else, in memory that is shared and in memory that is not', () => {
  const bytes = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(bytes, fc.nat(40), fc.nat(40), fc.boolean(), (source, before, after, isShared) => {
      const length = before + source.length + after;
      const memory = isShared ? new SharedArrayBuffer(length + 3) : new ArrayBuffer(length + 3);
      const target = new Uint8Array(memory, 3, length).fill(0xee);
      copyBytes(target, before, source);
      const expected = [...Array(before).fill(0xee), ...source, ...Array(after).fill(0xee)];
      expect([...target]).toEqual(expected);
    }),
  );
});
