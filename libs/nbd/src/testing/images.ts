/** Disk images whose bytes a test knows, and proof that nobody changed them. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';

/** Bytes that differ at every position for a long way, and are the same on every run. */
export function patternedBytes(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  for (let i = 0; i < length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

/** A sparse raw image of `size` bytes with data at the given offsets. Answers the whole content. */
export async function writeRawImage(
  path: string,
  size: number,
  data: readonly { readonly offset: number; readonly bytes: Uint8Array }[],
): Promise<Uint8Array> {
  const content = new Uint8Array(size);
  const file = await open(path, 'w');
  try {
    await file.truncate(size);
    for (const { offset, bytes } of data) {
      content.set(bytes, offset);
      await file.write(bytes, 0, bytes.length, offset);
    }
  } finally {
    await file.close();
  }
  return content;
}

export async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
