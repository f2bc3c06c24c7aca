/**
 * Data as disks hold it, in chunks of 4 MiB: random (packed or encrypted files), text (real text files, of the packages
 * installed here), zero. The same run measures the repository and its peers on the same bytes.
 */
import { randomFillSync } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import { MiB } from '@backhaul/kernel';

export type DataKind = 'random' | 'text' | 'zero';

export const CHUNK_BYTES = 4 * MiB;

/** `count` chunks, no two alike (but for zero). */
export async function chunksOf(kind: DataKind, count: number): Promise<Uint8Array<ArrayBuffer>[]> {
  const chunks = Array.from({ length: count }, () => new Uint8Array(CHUNK_BYTES));
  if (kind === 'random') for (const chunk of chunks) randomFillSync(chunk);
  if (kind === 'text') {
    const text = await textCorpus();
    let at = 0;
    for (const chunk of chunks) {
      for (let filled = 0; filled < chunk.length; ) {
        const part = text.subarray(at, at + chunk.length - filled);
        chunk.set(part, filled);
        filled += part.length;
        at = (at + part.length) % text.length;
      }
    }
  }
  return chunks;
}

const CORPUS_BYTES_MAX = 128 * MiB;

/** Ends at an odd length, so that going round it again gives other chunks. */
async function textCorpus(): Promise<Buffer> {
  const files: Buffer[] = [];
  let bytes = 0;
  for await (const path of glob('node_modules/**/*.{ts,js,md,json}')) {
    const content = await readFile(path).catch(() => Buffer.alloc(0));
    files.push(content);
    bytes += content.length;
    if (bytes >= CORPUS_BYTES_MAX) break;
  }
  const corpus = Buffer.concat(files);
  return corpus.subarray(0, corpus.length - 1 + (corpus.length % 2));
}
