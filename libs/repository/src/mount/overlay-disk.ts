/**
 * A disk that can be written to, over one that cannot. What is written goes to a sparse file that has no name: when the process ends, however
 * it ends, the file is gone. Which blocks are in it is known to this process alone, so there is nothing that a flush could save from a
 * crash, and it does not try to.
 *
 * A block that is written in part is first made whole from below. Writers of the same block take turns, so that neither loses.
 */

import { randomUUID } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, invariant, isPermanent } from '@backhaul/kernel';
import { BLOCK, BlockStates, blockBytesFor } from './block-states.ts';
import { type Disk, type DiskPiece, type DiskRun, joined, newMemory, type TakeMemory } from './disk.ts';
import { RangeLocks } from './range-locks.ts';

export interface OverlayDisk extends Disk {
  write(offset: number, data: Uint8Array): Promise<void>;
  /** Zeros that take no room. */
  writeZeroes(offset: number, length: number): Promise<void>;
  /** As `writeZeroes`, for whole blocks; the rest stays. */
  trim(offset: number, length: number): Promise<void>;
  /** Everything that was answered is in the overlay already. */
  flush(): Promise<void>;
  /** Bytes written and zeroed blocks come to nothing with it. */
  close(): Promise<void>;
}

/** `folder` is where the file takes its room. Throws a Fault where no file can be made there. */
export async function openOverlayDisk(below: Disk, folder: string): Promise<OverlayDisk> {
  const path = join(folder, `backhaul-overlay-${randomUUID()}`);
  try {
    const file = await open(path, 'wx+', 0o600);
    await unlink(path).catch(async (error) => {
      await file.close();
      throw error;
    });
    return new Overlay(below, file);
  } catch (cause) {
    throw new Fault(`Making a file for what will be written, in ${folder}, failed`, {
      cause,
      permanent: true,
    });
  }
}

class Overlay implements OverlayDisk {
  readonly sizeBytes: number;
  readonly #below: Disk;
  readonly #file: FileHandle;
  readonly #blockBytes: number;
  readonly #states = new BlockStates();
  readonly #locks = new RangeLocks();

  constructor(below: Disk, file: FileHandle) {
    this.sizeBytes = below.sizeBytes;
    this.#below = below;
    this.#file = file;
    this.#blockBytes = blockBytesFor(below.sizeBytes);
  }

  async read(offset: number, length: number, take: TakeMemory = newMemory): Promise<readonly DiskPiece[]> {
    const parts = this.#runs(offset, length).map(
      async ({ state, at, bytes }): Promise<readonly DiskPiece[]> => {
        if (state === BLOCK.below) return await this.#below.read(at, bytes, take);
        return [state === BLOCK.zero ? { zeroBytes: bytes } : await this.#readFile(at, take(bytes))];
      },
    );
    return (await Promise.all(parts)).flat();
  }

  async extents(offset: number, length: number, runsMax: number): Promise<readonly DiskRun[]> {
    const runs: DiskRun[] = [];
    for (const { state, at, bytes } of this.#runs(offset, length)) {
      if (state !== BLOCK.below) runs.push({ length: bytes, isHole: state === BLOCK.zero });
      else {
        const below = await this.#below.extents(at, bytes, runsMax);
        runs.push(...below);
        if (below.reduce((sum, run) => sum + run.length, 0) < bytes) break;
      }
      if (joined(runs).length > runsMax) break;
    }
    return joined(runs).slice(0, runsMax);
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    await this.#change(offset, data.length, async (from, to) => {
      await this.#makeWhole(offset, offset + data.length);
      await this.#writeFile(offset, data);
      this.#states.set(from, to, BLOCK.data);
    });
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#zero(offset, length, async (at, bytes) => await this.#writeFile(at, new Uint8Array(bytes)));
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#zero(offset, length, undefined);
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    await this.#file.close();
  }

  /** Runs `work` on the blocks that the range touches, while nobody else changes them. */
  async #change(
    offset: number,
    length: number,
    work: (from: number, to: number) => Promise<void>,
  ): Promise<void> {
    const from = Math.floor(offset / this.#blockBytes);
    const to = Math.ceil((offset + length) / this.#blockBytes);
    await this.#locks.hold({ from, to }, () => work(from, to));
  }

  /** Whole blocks become zero without a byte written; what is left at the edges is for `edge`. */
  async #zero(
    offset: number,
    length: number,
    edge: ((at: number, bytes: number) => Promise<void>) | undefined,
  ): Promise<void> {
    await this.#change(offset, length, async (from, to) => {
      const end = offset + length;
      const firstWhole = Math.ceil(offset / this.#blockBytes);
      // The last block of the disk is whole at the disk's end.
      const lastWhole = end === this.sizeBytes ? to : Math.floor(end / this.#blockBytes);
      if (edge !== undefined) {
        const innerFrom = Math.min(firstWhole * this.#blockBytes, end);
        const innerTo = Math.max(lastWhole * this.#blockBytes, innerFrom);
        await this.#makeWhole(offset, end);
        if (innerFrom > offset) {
          await edge(offset, innerFrom - offset);
          this.#states.set(from, from + 1, BLOCK.data);
        }
        if (end > innerTo) {
          await edge(innerTo, end - innerTo);
          this.#states.set(to - 1, to, BLOCK.data);
        }
      }
      if (lastWhole > firstWhole) this.#states.set(firstWhole, lastWhole, BLOCK.zero);
    });
  }

  /** Blocks at the edges of [offset, end) that are covered in part, and are not in the file, are brought there. */
  async #makeWhole(offset: number, end: number): Promise<void> {
    const first = Math.floor(offset / this.#blockBytes);
    const last = Math.floor((end - 1) / this.#blockBytes);
    for (const block of new Set([first, last])) {
      const start = block * this.#blockBytes;
      const stop = Math.min(start + this.#blockBytes, this.sizeBytes);
      const isCovered = offset <= start && end >= stop;
      const state = this.#states.at(block);
      if (isCovered || state === BLOCK.data) continue;
      const pieces =
        state === BLOCK.zero ? [{ zeroBytes: stop - start }] : await this.#below.read(start, stop - start);
      const whole = new Uint8Array(stop - start);
      let at = 0;
      for (const piece of pieces) {
        if (piece instanceof Uint8Array) whole.set(piece, at);
        at += piece instanceof Uint8Array ? piece.length : piece.zeroBytes;
      }
      await this.#writeFile(start, whole);
    }
  }

  #runs(offset: number, length: number): { state: number; at: number; bytes: number }[] {
    const runs = [];
    const end = offset + length;
    const endBlock = Math.ceil(end / this.#blockBytes);
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / this.#blockBytes);
      const to = Math.min(end, this.#states.runEnd(block, endBlock) * this.#blockBytes);
      runs.push({ state: this.#states.at(block), at, bytes: to - at });
      at = to;
    }
    return runs;
  }

  async #readFile(offset: number, bytes: Uint8Array): Promise<Uint8Array> {
    const { length } = bytes;
    for (let filled = 0; filled < length; ) {
      const { bytesRead } = await this.#file
        .read(bytes, filled, length - filled, offset + filled)
        .catch(faultOf('Reading'));
      invariant(bytesRead > 0, 'The overlay holds every block that was written to it, whole');
      filled += bytesRead;
    }
    return bytes;
  }

  async #writeFile(offset: number, data: Uint8Array): Promise<void> {
    for (let written = 0; written < data.length; ) {
      const { bytesWritten } = await this.#file
        .write(data, written, data.length - written, offset + written)
        .catch(faultOf('Writing'));
      written += bytesWritten;
    }
  }
}

const faultOf =
  (doing: string) =>
  (cause: NodeJS.ErrnoException): never => {
    const code = cause.code === undefined ? {} : { code: cause.code };
    throw new Fault(`${doing} the overlay failed`, { cause, permanent: isPermanent(cause), ...code });
  };
