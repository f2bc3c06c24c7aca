import { cutAt, type Extent, extentEnd, KiB } from '@backhaul/kernel';
import { isZero } from './format/chunk-file.ts';

/** Zero runs inside of data are left as holes in this unit, which is what file systems and qcow2 allocate in. */
const HOLE_BYTES = 64 * KiB;

/**
 * What has to be written of `data`, which belongs at `offset` of a disk that reads as zero: all of it but the zeros that fill whole
 * units of the disk. In order, and joined into long runs.
 */
export function* dataRuns(offset: number, data: Uint8Array): Generator<Extent> {
  let run: Extent | undefined;
  for (const unit of cutAt({ offset, length: data.length }, HOLE_BYTES)) {
    if (!isZero(data.subarray(unit.offset - offset, extentEnd(unit) - offset))) {
      run = { offset: run?.offset ?? unit.offset, length: (run?.length ?? 0) + unit.length };
    } else if (run !== undefined) {
      yield run;
      run = undefined;
    }
  }
  if (run !== undefined) yield run;
}
