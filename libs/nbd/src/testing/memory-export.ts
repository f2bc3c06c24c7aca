/** A disk in memory as an export: every block of zeros is a hole, and what a client does to it can be looked at. */
import type { NbdExport, ReadPiece, Run } from '../server/export.ts';

const BLOCK = 4096;

export interface MemoryExport extends NbdExport {
  readonly content: Uint8Array;
  flushes: number;
}

/** `changes`: what is to be otherwise, such as `readOnly`. Writable, with everything that an export may offer, but for those. */
export function memoryExport(
  name: string,
  content: Uint8Array,
  changes: Partial<NbdExport> = {},
): MemoryExport {
  const runs = function* (offset: number, length: number): Generator<Run> {
    let last: { length: number; isHole: boolean } | undefined;
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, (Math.floor(at / BLOCK) + 1) * BLOCK);
      const isHole = content.subarray(at, end).every((byte) => byte === 0);
      if (last?.isHole === isHole) last.length += end - at;
      else {
        if (last !== undefined) yield last;
        last = { length: end - at, isHole };
      }
      at = end;
    }
    if (last !== undefined) yield last;
  };
  const disk: MemoryExport = {
    name,
    description: `${content.length} bytes of memory`,
    content,
    flushes: 0,
    sizeBytes: content.length,
    readOnly: false,
    async read(offset, length) {
      const pieces: ReadPiece[] = [];
      let at = offset;
      for (const run of runs(offset, length)) {
        pieces.push(run.isHole ? { zeroBytes: run.length } : content.slice(at, at + run.length));
        at += run.length;
      }
      return pieces;
    },
    extents: async (offset, length, runsMax) => runs(offset, length).take(runsMax).toArray(),
    cache: async () => {},
    async write(offset, data) {
      content.set(data, offset);
    },
    async flush() {
      disk.flushes += 1;
    },
    async trim(offset, length) {
      content.fill(0, offset, offset + length);
    },
    async writeZeroes(offset, length) {
      content.fill(0, offset, offset + length);
    },
    zeroesAreFast: true,
    ...changes,
  };
  return disk;
}

/** As an export that is only read. */
export const readOnlyExport = (name: string, content: Uint8Array, changes: Partial<NbdExport> = {}) => {
  const { name: _, sizeBytes, description, read, extents } = memoryExport(name, content);
  const plain: NbdExport = { name, sizeBytes, readOnly: true, read, extents, ...changes };
  return description === undefined ? plain : { description, ...plain };
};
