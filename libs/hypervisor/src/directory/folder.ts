/**
 * A folder as a host: a sub-folder is a VM, and the image files in it are its disks, in the order of their names; an
 * image file at the top is a VM with one disk. Names are checked, because they go into streams, subjects and paths.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { Name } from '@backhaul/contracts';
import { listed, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { ImageFormat } from './block-graph.ts';

export interface ImageFile {
  readonly diskId: string;
  readonly path: string;
  readonly format: ImageFormat;
}

/** The format is taken from the name, never probed: a guest may write anything at the start of a raw disk. */
const formats: Readonly<Record<string, ImageFormat>> = { '.raw': 'raw', '.img': 'raw', '.qcow2': 'qcow2' };
const EXTENSIONS = Object.keys(formats).join(', ');

const formatOf = (fileName: string): ImageFormat | undefined => formats[extname(fileName).toLowerCase()];
const withoutExtension = (fileName: string): string => fileName.slice(0, -extname(fileName).length);
const isName = (name: string): boolean => Name.safeParse(name).success;

/** VMs by name, in order. What has no usable name or no image is not a VM; asking for it says why. */
export async function listVms(folder: string): Promise<string[]> {
  const vms = new Set<string>();
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (await isFolder(path)) {
      if (isName(entry.name) && (await imageNames(path)).length > 0) vms.add(entry.name);
    } else if (formatOf(entry.name) !== undefined && isName(withoutExtension(entry.name))) {
      vms.add(withoutExtension(entry.name));
    }
  }
  return [...vms].sort();
}

/** The images of a VM, each checked to be a file whose name says what it is. Refusals say what is there instead. */
export async function imagesOf(folder: string, vmId: string): Promise<Result<ImageFile[]>> {
  const unusable = nameUnusableForVm(vmId);
  if (unusable !== undefined) return refuse(unusable);
  const own = join(folder, vmId);
  const alone = await imagesAlone(folder, vmId);
  const hasFolder = await isFolder(own);
  if (!hasFolder && alone.length === 0) return refuse(await vmUnknown(folder, vmId));
  if (Number(hasFolder) + alone.length > 1) {
    const claims = [...(hasFolder ? [`${vmId}/`] : []), ...alone].join(', ');
    return refuse({
      code: 'NameUnusable',
      message: `VM ${vmId} is not one thing in ${folder}: ${claims}.`,
      wayOut: 'Rename all but one of them.',
    });
  }
  const names = hasFolder ? await imageNames(own) : alone;
  if (names.length === 0) {
    return refuse({
      code: 'NoDisks',
      message: `VM ${vmId} has no disks: no file in ${own} ends in ${EXTENSIONS}.`,
    });
  }
  const images: ImageFile[] = [];
  for (const name of names) {
    const image = await imageAt(vmId, join(hasFolder ? own : folder, name), name);
    if (!image.ok) return image;
    const twin = images.find((other) => other.diskId === image.value.diskId);
    if (twin !== undefined) {
      return refuse({
        code: 'NameUnusable',
        message: `VM ${vmId} has two images for one disk name, ${twin.path} and ${image.value.path}.`,
        wayOut: 'Rename or remove one of them.',
      });
    }
    images.push(image.value);
  }
  return ok(images);
}

/** Images at the top that each would be the VM of this name. */
export const imagesAlone = async (folder: string, vmId: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => formatOf(name) !== undefined && withoutExtension(name) === vmId);

async function imageAt(vmId: string, path: string, name: string): Promise<Result<ImageFile>> {
  const diskId = withoutExtension(name);
  if (!isName(diskId)) return refuse(nameUnusable(`Disk name "${diskId}" of VM ${vmId} (${path})`));
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) {
    return refuse({
      code: 'ImageMissing',
      message: `Disk ${diskId} of VM ${vmId} has no image: ${path} leads to no file.`,
    });
  }
  if (!found.isFile()) {
    return refuse({
      code: 'ImageUnusable',
      message: `Disk ${diskId} of VM ${vmId} is not an image: ${path} is not a file.`,
    });
  }
  const format = formatOf(name) ?? 'raw';
  if (format === 'raw' && extname(name).toLowerCase() === '.img' && (await beginsAsQcow2(path))) {
    return refuse({
      code: 'ImageUnusable',
      message: `Disk ${diskId} of VM ${vmId} is ambiguous: ${path} has the name of a raw image and begins as a qcow2 image.`,
      wayOut: 'Rename it to .qcow2 if it is one, to .raw if its contents only look like one.',
    });
  }
  return ok({ diskId, path, format });
}

async function beginsAsQcow2(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.readUInt32BE() === 0x514649fb;
  } finally {
    await file.close();
  }
}

const imageNames = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => formatOf(name) !== undefined).sort();

const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isDirectory() ?? false;

export const nameUnusableForVm = (vmId: string): Refusal | undefined =>
  isName(vmId) ? undefined : nameUnusable(`VM name "${vmId}"`);

const nameUnusable = (what: string): Refusal => ({
  code: 'NameUnusable',
  message: `${what} cannot be used: it must be 1 to 63 letters, digits, "-" or "_", starting with a letter or digit.`,
  wayOut: 'Rename it.',
});

async function vmUnknown(folder: string, vmId: string): Promise<Refusal> {
  const there = await listVms(folder);
  const shown = listed(there, 20);
  return {
    code: 'VmUnknown',
    message: `There is no VM ${vmId} in ${folder}. ${there.length === 0 ? 'No VM is there.' : `There are: ${shown}.`}`,
  };
}
