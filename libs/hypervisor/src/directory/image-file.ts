/**
 * What qemu-img says and does about one image file: its format, its health, its bitmaps. Answers that concern the user
 * (corrupt, in use, encrypted) are refusals with qemu-img's own words.
 */
import { access, constants, stat } from 'node:fs/promises';
import type { ImageIdentity } from '@backhaul/contracts';
import { Fault, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { z } from 'zod';
import { runTool } from '../tool.ts';
import type { ImageFile } from './folder.ts';
import { filesOf } from './image-files.ts';
import { orHeld } from './image-lock.ts';

const Info = z.object({
  filename: z.string(),
  'virtual-size': z.int(),
  encrypted: z.boolean().default(false),
  'format-specific': z
    .object({
      data: z.object({
        compat: z.string().optional(),
        corrupt: z.boolean().default(false),
        'data-file': z.string().optional(),
        bitmaps: z
          .array(z.object({ name: z.string(), flags: z.array(z.string()), granularity: z.int() }))
          .default([]),
      }),
    })
    .optional(),
});

export interface ImageFacts {
  readonly sizeBytes: number;
  readonly identity: ImageIdentity;
  /** Null where the format can keep checkpoints; else why it cannot. */
  readonly withoutTracking: string | null;
  readonly bitmaps: readonly { readonly name: string; readonly usable: boolean }[];
}

const TOOL_MILLISECONDS = 60_000;
/** A check walks all metadata of the image. One that takes longer is left: reading the data walks the tables again. */
const CHECK_MILLISECONDS = 20_000;

const imageCorrupt = (image: ImageFile, said: unknown): Refusal => ({
  code: 'ImageCorrupt',
  message: `The image of disk ${image.diskId} cannot be used: ${wordsOf(said)} (${image.path}).`,
});

/** What the program said, without the command line that made it say so. */
function wordsOf(said: unknown): string {
  const text = said instanceof Error ? said.message : String(said);
  return text
    .replace(/^"[^"]*" failed: /, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 600);
}

/** Reads the headers of the image and of all it is based on. Throws ImageHeld while another process writes to it. */
export async function readImage(image: ImageFile): Promise<Result<ImageFacts>> {
  let output: string;
  try {
    const args = ['info', '--output=json', '--backing-chain', '-f', image.format, image.path];
    const run = () => runTool('qemu-img', args, { milliseconds: TOOL_MILLISECONDS });
    output = (await orHeld(image, run)).stdout;
  } catch (error) {
    if (error instanceof Fault && error.code === 'ToolFailed') return refuse(imageCorrupt(image, error));
    throw error;
  }
  const [top, ...backing] = z.tuple([Info]).rest(Info).parse(JSON.parse(output));
  const specific = top['format-specific']?.data;
  if (top.encrypted) {
    return refuse({
      code: 'ImageUnusable',
      message: `The image of disk ${image.diskId} is encrypted, and the key is not known here (${image.path}).`,
    });
  }
  if (specific?.corrupt === true) return refuse(imageCorrupt(image, 'it is marked corrupt'));
  return ok({
    sizeBytes: top['virtual-size'],
    identity: {
      format: image.format,
      inode: await filesOf(
        image.path,
        backing.map((one) => one.filename),
      ),
      sizeBytes: top['virtual-size'],
    },
    withoutTracking: withoutTracking(image, top['virtual-size'], specific),
    bitmaps: (specific?.bitmaps ?? []).map(({ name, flags }) => ({
      name,
      usable: flags.includes('auto') && !flags.includes('in-use'),
    })),
  });
}

function withoutTracking(
  image: ImageFile,
  sizeBytes: number,
  specific: { compat?: string | undefined; 'data-file'?: string | undefined } | undefined,
): string | null {
  if (image.format === 'raw') return `disk ${image.diskId} is a raw image, which cannot keep a checkpoint`;
  if (specific?.compat === '0.10') {
    return `the image of disk ${image.diskId} is of qcow2 version 2, which cannot keep a checkpoint (qemu-img amend -o compat=1.1 lifts it)`;
  }
  if (specific?.['data-file'] !== undefined) {
    return `disk ${image.diskId} keeps its data in a file of its own, which can be written past its checkpoints`;
  }
  return sizeBytes === 0 ? `disk ${image.diskId} has no size` : null;
}

/** A quick look for damage. Leaked clusters cost space and hurt nobody. Throws ImageHeld like `readImage`. */
export async function checkImage(image: ImageFile): Promise<Result<null>> {
  if (image.format === 'raw') return ok(null);
  try {
    await orHeld(image, () =>
      runTool('qemu-img', ['check', '-q', '-f', image.format, image.path], {
        milliseconds: CHECK_MILLISECONDS,
        exitCodes: [0, 3],
      }),
    );
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.code === 'ToolFailed') return refuse(imageCorrupt(image, error));
    if (error.code !== 'TimedOut') throw error;
  }
  return ok(null);
}

export const isWritable = (image: ImageFile): Promise<boolean> =>
  access(image.path, constants.W_OK).then(
    () => true,
    () => false,
  );

/** Throws ImageHeld while another process has the image open at all. */
export async function addBitmap(image: ImageFile, name: string, granularityBytes: number): Promise<void> {
  await bitmap(image, '--add', '-g', String(granularityBytes), image.path, name);
}

export async function removeBitmap(image: ImageFile, name: string): Promise<void> {
  await bitmap(image, '--remove', image.path, name);
}

async function bitmap(image: ImageFile, ...args: string[]): Promise<void> {
  await orHeld(image, () =>
    runTool('qemu-img', ['bitmap', '-f', image.format, ...args], { milliseconds: TOOL_MILLISECONDS }),
  );
}

/** What tells whether a file was written or replaced since: no reader changes any of it. */
export const FileMark = z.object({
  inode: z.string(),
  sizeBytes: z.string(),
  modifiedNanoseconds: z.string(),
});
export type FileMark = z.infer<typeof FileMark>;

/** Undefined of a file that is not there. Throws where that cannot be told: storage that does not answer has replaced nothing. */
export async function markFile(path: string): Promise<FileMark | undefined> {
  const found = await stat(path, { bigint: true }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return undefined;
    throw new Fault(`Looking at ${path} failed`, { cause });
  });
  if (found === undefined) return undefined;
  return {
    inode: String(found.ino),
    sizeBytes: String(found.size),
    modifiedNanoseconds: String(found.mtimeNs),
  };
}

export const sameFile = (a: FileMark | undefined, b: FileMark): boolean =>
  a !== undefined &&
  a.inode === b.inode &&
  a.sizeBytes === b.sizeBytes &&
  a.modifiedNanoseconds === b.modifiedNanoseconds;
