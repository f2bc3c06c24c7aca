/**
 * QEMU locks an image that it has open, so that two writers never meet. A lock is often held for moments only (a tool
 * that looks, a server that just ends), so it is waited for a short while before it is believed.
 */
import { describeError, Fault, type Refusal } from '@backhaul/kernel';
import type { ImageFile } from './folder.ts';

/** Another process holds the image in a way that excludes what we want of it. */
export class ImageHeld extends Fault {
  readonly image: ImageFile;

  constructor(image: ImageFile, cause: unknown) {
    super(`The image of disk ${image.diskId} is held by another process (${image.path})`, {
      cause,
      code: 'ImageInUse',
    });
    this.image = image;
  }
}

/** Does `work` with an image; a failure by QEMU's lock (its words are in block/file-posix.c) is thrown as ImageHeld. */
export async function orHeld<T>(image: ImageFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isLock = /Failed to (get|lock)\b.*\b(lock|byte)\b/.test(describeError(error));
    throw isLock && !(error instanceof ImageHeld) ? new ImageHeld(image, error) : error;
  }
}

const INTERVAL_MILLISECONDS = 100;

/** Tries again while `work` throws ImageHeld. Throws the last one when the time is up. */
export async function despiteLocks<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
  const end = Date.now() + milliseconds;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ImageHeld) || Date.now() >= end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MILLISECONDS));
  }
}

export const imageInUse = ({ image }: ImageHeld): Refusal => ({
  code: 'ImageInUse',
  message: `Disk ${image.diskId} is in use: another process has its image ${image.path} open for writing.`,
  wayOut:
    'A directory host takes images at rest: shut the VM down, or back it up through the host that runs it.',
});
