/**
 * A disk that can be looked at here and there, as a server of disks wants it. Offsets and lengths are bytes inside the disk; whoever
 * calls has checked them. Calls come many at a time.
 */

/** Bytes, or as many zeros that are not spelt out. */
export type DiskPiece = Uint8Array | { readonly zeroBytes: number };

/** `isHole`: it takes no room, and reads as zero. */
export interface DiskRun {
  readonly length: number;
  readonly isHole: boolean;
}

/** Where copies of the disk's bytes are to go: memory that its owner may use again when the pieces were used. */
export type TakeMemory = (bytes: number) => Uint8Array;

export const newMemory: TakeMemory = (bytes) => Buffer.allocUnsafeSlow(bytes);

export interface Disk {
  readonly sizeBytes: number;
  /** In order, all of the range. The pieces are the caller's. Throws a Fault, of code EIO where data is damaged or missing: never wrong bytes. */
  read(offset: number, length: number, take?: TakeMemory): Promise<readonly DiskPiece[]>;
  /** From `offset` on: at least one run, at most `runsMax`, not beyond the range, perhaps not to its end. */
  extents(offset: number, length: number, runsMax: number): Promise<readonly DiskRun[]>;
}

/** Joins neighbours that are alike. */
export function joined(runs: Iterable<DiskRun>): DiskRun[] {
  const result: DiskRun[] = [];
  for (const run of runs) {
    const last = result.at(-1);
    if (last?.isHole === run.isHole) {
      result[result.length - 1] = { length: last.length + run.length, isHole: run.isHole };
    } else result.push(run);
  }
  return result;
}
