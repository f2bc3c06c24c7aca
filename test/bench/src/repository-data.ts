/**
 * Data as disks hold it, in chunks of 4 MiB: random (packed or encrypted files), text (real text files, of the packages
 * installed here), zero. The same run measures the repository and its peers on the same bytes.
 */
import { randomFillSync } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import { invariant, MiB } from '@backhaul/kernel';
import { openRepository, type Segment } from '@backhaul/repository';

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

/** The restore point that `putRestorePoint` leaves, and its disk. */
export const BACKUP = '00000000-0000-5000-8000-000000000001';
export const DISK = 'vda';

/** As a full leaves it, of a disk that comes in chunks of CHUNK_BYTES, the last one maybe shorter. */
export async function putRestorePoint(
  location: string,
  sizeBytes: number,
  chunks: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const repository = await openRepository({ location });
  try {
    const segments: Segment[] = [];
    let offset = 0;
    for await (const chunk of chunks()) {
      const { digest } = await repository.putChunk(chunk);
      segments.push({ offset, length: chunk.length, digest, chunkOffset: 0 });
      offset += chunk.length;
    }
    invariant(offset === sizeBytes, 'The chunks are the disk');
    await repository.putManifest({
      ...{ backupId: BACKUP, hostId: 'host', vmId: 'vm', kind: 'full', parentBackupId: null },
      ...{ takenAt: '2025-01-01T00:00:00Z', disks: [{ diskId: DISK, sizeBytes, segments }] },
    });
  } finally {
    await repository.close();
  }
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
