import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CHUNK_FILE_BYTES_MAX,
  decodeInPlace,
  digestOf,
  encodeInPlace,
  isZero,
  plainBytes,
} from './chunk-file.ts';

const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);
const joined = (parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => own(Buffer.concat(parts));
/** The chunk file of these bytes, made in memory that held something else before. */
const encoded = (plain: Uint8Array): Uint8Array<ArrayBuffer> => {
  const memory = new Uint8Array(plain.length + 100).fill(0xee);
  memory.set(plain, 16);
  const length = encodeInPlace(memory, plain.length, 1);
  return memory.slice(0, length);
};
const isPacked = (plain: Uint8Array): boolean => encoded(plain)[5] === 1;
const noise = (length: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(length);
  let state = 0x2545f491;
  for (let i = 0; i < length; i += 1) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    bytes[i] = state >>> 24;
  }
  return bytes;
};

describe('the bytes of a chunk file never change', () => {
  const hello = own(Buffer.from('hello, repository'));

  test('stored', () => {
    const file = encoded(hello);
    expect(Buffer.from(file).toString('hex')).toBe(
      `42484348${'01'}${'00'}${'0000'}${'00000011'}${'00000011'}${'68656c6c6f2c207265706f7369746f7279'}`,
    );
    expect(plainBytes(file, digestOf(hello))).toEqual(hello);
  });

  test('compressed', () => {
    const plain = own(Buffer.alloc(1000, 'ab'));
    // Written once and kept: a later release of zstd may pack otherwise, but must unpack this.
    const kept = own(
      Buffer.from('4248434801010000000003e80000001328b52ffd60e8024d00001061620100e3ab1c16', 'hex'),
    );
    expect(plainBytes(kept, digestOf(plain))).toEqual(plain);
    expect(Buffer.from(encoded(plain)).toString('hex')).toMatch(
      /^4248434801010000000003e8000000[0-9a-f]{2}28b52ffd/,
    );
  });
});

test('what was put comes back, whatever the bytes and however they were packed', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 2000 }),
      fc.integer({ min: 1, max: 40 }),
      (piece, times) => {
        const plain = joined(Array(times).fill(piece));
        const file = encoded(plain);
        expect(file.length).toBeLessThanOrEqual(plain.length + 16);
        expect(plainBytes(file, digestOf(plain))).toEqual(plain);
        const shared = new Uint8Array(new SharedArrayBuffer(plain.length + 100)).fill(0xee);
        shared.set(file);
        expect(decodeInPlace(shared, file.length, digestOf(plain))).toBe(plain.length);
        expect(Buffer.compare(shared.subarray(16, 16 + plain.length), plain)).toBe(0);
      },
    ),
  );
});

test('data that does not shrink is stored as it is', () => {
  expect(isPacked(noise(1000))).toBe(false);
  expect(isPacked(noise(1024 * 1024))).toBe(false);
  expect(isPacked(Buffer.alloc(1024 * 1024, 'text that repeats. '))).toBe(true);
  const halfText = noise(1024 * 1024);
  halfText.fill(0x20, 512 * 1024);
  expect(isPacked(halfText)).toBe(true);
});

test('zero is every byte zero, wherever the one that is not', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(), fc.boolean(), (length, at, dirty) => {
      const data = new Uint8Array(length);
      if (dirty) data[at % length] = 1;
      expect(isZero(data)).toBe(!dirty);
    }),
  );
  expect(isZero(new Uint8Array(CHUNK_FILE_BYTES_MAX - 16))).toBe(true);
});

describe('a damaged chunk file is refused, with the reason', () => {
  const plain = own(Buffer.alloc(5000, 'some text '));
  const digest = digestOf(plain);
  const good = encoded(plain);

  test('every flipped bit', () => {
    for (let bit = 0; bit < good.length * 8; bit += 1) {
      const file = own(good);
      file[bit >> 3] = (file[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      // Bytes 6 and 7 are reserved: a reader ignores them.
      if (bit >> 3 === 6 || bit >> 3 === 7) continue;
      let found: Uint8Array | undefined;
      try {
        found = plainBytes(file, digest);
      } catch {
        continue;
      }
      // zstd may have bits that do not matter: then the content is right, which is all that is promised.
      expect(Buffer.compare(found, plain)).toBe(0);
    }
  });

  test('every truncation', () => {
    for (let length = 0; length < good.length; length += 1) {
      expect(() => plainBytes(good.slice(0, length), digest)).toThrow(/has \d+ bytes/);
    }
  });

  test('a body that unpacks to more than it claims is stopped at the claim', () => {
    const bomb = encoded(Buffer.alloc(4 * 1024 * 1024, 1));
    new DataView(bomb.buffer).setUint32(8, 1000);
    expect(() => plainBytes(bomb, digest)).toThrow('cannot be unpacked');
  });

  test('lengths beyond the format are refused before anything is unpacked', () => {
    const huge = own(good);
    new DataView(huge.buffer).setUint32(8, 0xffffffff);
    expect(() => plainBytes(huge, digest)).toThrow('claims 4294967295 plain bytes');
  });

  test('the wrong chunk under a name', () => {
    expect(() => plainBytes(good, 'ab'.repeat(32))).toThrow(`holds bytes of digest ${digest}`);
  });
});
