/**
 * Which blocks of a disk were written over it: two bits for each, kept only for the parts of the disk that were touched. Blocks
 * grow with the disk, so that the whole of it never takes more than 64 MiB. Pure.
 */
import { KiB } from '@backhaul/kernel';

export const BLOCK = { below: 0, data: 1, zero: 2 } as const;
export type BlockState = (typeof BLOCK)[keyof typeof BLOCK];

/** What file systems write in; at 1 TiB and below. */
const BLOCK_BYTES_MIN = 4 * KiB;
const BLOCKS_MAX = 2 ** 28;
const REGION_BLOCKS = 16_384;

export const blockBytesFor = (sizeBytes: number): number => {
  let bytes = BLOCK_BYTES_MIN;
  while (sizeBytes / bytes > BLOCKS_MAX) bytes *= 2;
  return bytes;
};

export class BlockStates {
  /** By region: a byte holds four blocks. */
  readonly #regions = new Map<number, Uint8Array>();

  at(block: number): BlockState {
    const region = this.#regions.get(Math.floor(block / REGION_BLOCKS));
    if (region === undefined) return BLOCK.below;
    const inRegion = block % REGION_BLOCKS;
    return (((region[inRegion >> 2] ?? 0) >> ((inRegion & 3) * 2)) & 3) as BlockState;
  }

  /** Blocks [from, to). */
  set(from: number, to: number, state: BlockState): void {
    for (let block = from; block < to; block += 1) {
      const key = Math.floor(block / REGION_BLOCKS);
      let region = this.#regions.get(key);
      if (region === undefined) {
        region = new Uint8Array(REGION_BLOCKS / 4);
        this.#regions.set(key, region);
      }
      const inRegion = block % REGION_BLOCKS;
      const shift = (inRegion & 3) * 2;
      const at = inRegion >> 2;
      if (shift === 0 && block + 4 <= to) {
        region[at] = state * 0b0101_0101;
        block += 3;
      } else region[at] = ((region[at] ?? 0) & ~(3 << shift)) | (state << shift);
    }
  }

  /** How far the blocks from `from` on are alike, up to `to`. Steps over untouched regions. */
  runEnd(from: number, to: number): number {
    const state = this.at(from);
    for (let block = from + 1; block < to; ) {
      const key = Math.floor(block / REGION_BLOCKS);
      if (state === BLOCK.below && !this.#regions.has(key)) block = (key + 1) * REGION_BLOCKS;
      else if (this.at(block) === state) block += 1;
      else return block;
    }
    return to;
  }
}
