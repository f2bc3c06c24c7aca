/**
 * A guest that writes numbered records to all its disks for ever: the source VM of tests and of the demo. It boots from the
 * appliance's kernel and initramfs with a second archive behind it, which the kernel unpacks over the first
 * (Documentation/driver-api/early-userspace/buffer-format.rst). `lastRecordOf` says whether a disk image holds what the guest
 * had written at one instant.
 */
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildAppliance } from './build.ts';
import { type ArchiveEntry, writeCpio } from './cpio.ts';

const folder = new URL('../writing-guest/', import.meta.url);
const JOURNAL_SLOTS = 256;
const SLOT_BYTES = 4096;
const JOURNAL_BYTES = JOURNAL_SLOTS * SLOT_BYTES;
const RECORD_BYTES = 16_384;
const GRID_BYTES = 65_536;
const LINE_BYTES = 16;

export interface WritingGuest {
  readonly kernel: string;
  readonly initramfs: string;
  /** For QEMU's `-append`. `pauseMilliseconds` between two records, `records` to power off after. */
  commandLine(options?: { pauseMilliseconds?: number; records?: number }): string;
}

/** What is unpacked over the appliance. */
export async function writingGuestFiles(): Promise<ArchiveEntry[]> {
  const names = (await readdir(folder)).sort();
  return await Promise.all(
    names.map(async (name) => ({
      path: name === 'init' ? 'writing-init' : `lib/writing-guest/${name}`,
      kind: 'file' as const,
      executable: name === 'init',
      contents: await readFile(new URL(name, folder)),
    })),
  );
}

/** Makes its initramfs in `directory`; builds the appliance where it is not built yet. */
export async function buildWritingGuest(directory: string): Promise<WritingGuest> {
  const appliance = await buildAppliance();
  const entries = await writingGuestFiles();
  const first = await readFile(join(appliance.directory, 'initramfs.cpio'));
  const padding = Buffer.alloc((4 - (first.length % 4)) % 4);
  await mkdir(directory, { recursive: true });
  const initramfs = join(directory, 'writing-guest.initramfs');
  await writeFile(initramfs, Buffer.concat([first, padding, writeCpio(entries)]));
  return {
    kernel: join(appliance.directory, 'vmlinuz'),
    initramfs,
    commandLine: ({ pauseMilliseconds = 0, records } = {}) =>
      [
        'console=ttyS0 quiet panic=-1 rdinit=/writing-init',
        `writing.pause=${pauseMilliseconds}`,
        ...(records === undefined ? [] : [`writing.records=${records}`]),
      ].join(' '),
  };
}

/**
 * The number of the last record in a raw image, 0 where there is none. Throws when the image is of no one instant: a record is
 * missing that was written before another that is there, or one is torn.
 */
export async function lastRecordOf(image: string): Promise<number> {
  await using handle = await open(image, 'r');
  const { size } = await handle.stat();
  const journal = Buffer.alloc(JOURNAL_BYTES);
  await handle.read(journal, 0, JOURNAL_BYTES, 0);
  const numbers = Array.from({ length: JOURNAL_SLOTS }, (_, slot) =>
    numberIn(
      journal.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES),
      `journal slot ${slot} of ${image}`,
    ),
  );
  const last = Math.max(...numbers);
  // A later record may have gone to the same place of the data area, and the one being written may be there already.
  const places = Math.floor((size - JOURNAL_BYTES) / GRID_BYTES);
  const data = Buffer.alloc(RECORD_BYTES);
  for (let n = Math.max(1, last - JOURNAL_SLOTS + 1); n <= last; n += 1) {
    const journaled = numbers[n % JOURNAL_SLOTS];
    if (journaled !== n)
      throw new Error(`${image} has record ${last}, and ${journaled} in the place of ${n}`);
    if (places <= 0) continue;
    await handle.read(data, 0, RECORD_BYTES, JOURNAL_BYTES + ((n * 7919) % places) * GRID_BYTES);
    const found = Number(data.toString('latin1', 0, LINE_BYTES - 1));
    const isLater = found > n && found <= last + 1 && (found * 7919) % places === (n * 7919) % places;
    if (found !== n && !isLater)
      throw new Error(`${image} has ${found} where record ${n} of ${last} belongs`);
    if (found <= last) numberIn(data, `the data of record ${found} of ${image}`);
  }
  return last;
}

/** The one number that all lines of a block hold; 0 for a block of zeroes. */
function numberIn(block: Buffer, what: string): number {
  const line = block.subarray(0, LINE_BYTES);
  for (let at = LINE_BYTES; at < block.length; at += LINE_BYTES) {
    if (block.compare(line, 0, LINE_BYTES, at, at + LINE_BYTES) !== 0) throw new Error(`${what} is torn`);
  }
  return Number(line.toString('latin1', 0, LINE_BYTES - 1).replaceAll('\0', '')) || 0;
}
