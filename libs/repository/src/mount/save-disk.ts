/** A disk as it is now, written to a raw file: how what was written over a restore point is kept. */
import { dirname } from 'node:path';
import { cutAt, Fault, isPermanent, MiB } from '@backhaul/kernel';
import { makeRawFile, refuseExisting, writeSparsely } from '../raw-file.ts';
import type { Disk } from './disk.ts';

export interface SaveDiskOptions {
  readonly disk: Disk;
  /** Must be free. */
  readonly target: string;
  readonly onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
}

const PIECE_BYTES = 4 * MiB;
/** Read side by side, so that several threads unpack. */
const PIECES_AT_ONCE = 4;
const RUNS_MAX = 1024;

/** The file appears under its name when all of it is durable; holes stay holes. The disk must not be written to meanwhile. */
export async function saveDisk({
  disk,
  target,
  onProgress,
}: SaveDiskOptions): Promise<{ writtenBytes: number }> {
  await refuseExisting(target);
  const totalBytes = disk.sizeBytes;
  try {
    const writtenBytes = await makeRawFile(
      { target, sizeBytes: totalBytes, overwrite: false },
      async (file) => {
        let written = 0;
        for (let offset = 0; offset < totalBytes; ) {
          for (const run of await disk.extents(offset, totalBytes - offset, RUNS_MAX)) {
            if (!run.isHole) {
              const pieces = cutAt({ offset, length: run.length }, PIECE_BYTES);
              const copy = async (): Promise<void> => {
                for (const piece of pieces) {
                  let at = piece.offset;
                  for (const part of await disk.read(piece.offset, piece.length)) {
                    if (part instanceof Uint8Array) written += await writeSparsely(file, at, part);
                    at += part instanceof Uint8Array ? part.length : part.zeroBytes;
                  }
                }
              };
              await Promise.all(Array.from({ length: PIECES_AT_ONCE }, copy));
            }
            offset += run.length;
            onProgress?.({ doneBytes: offset, totalBytes });
          }
        }
        return written;
      },
    );
    return { writtenBytes };
  } catch (cause) {
    throw new Fault(`Keeping the disk as ${target}, in ${dirname(target)}, failed`, {
      cause,
      permanent: isPermanent(cause),
    });
  }
}
