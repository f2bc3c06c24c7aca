/**
 * Builds the appliance: the kernel and the initramfs of a proxy VM, from distribution packages and the files in `guest/`. The initramfs is
 * there twice: packed, to be carried about, and unpacked, to be booted (an emulated guest takes a second to unpack it).
 *   node infra/appliance/src/build.ts [--to DIR]
 * - The same inputs give the same bytes: `appliance.json`, written last, names the inputs and the digests of all files.
 * - Built once: what stands in the folder, and was made of the same inputs, is left alone.
 * - Nothing is installed; nothing outside the folder is written.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { constants, zstdCompressSync } from 'node:zlib';
import { describeError, Fault, formatBytes } from '@backhaul/kernel';
import { z } from 'zod';
import { initramfsEntries } from './contents.ts';
import { writeCpio } from './cpio.ts';
import { appliancePackages, type DebianPackage, downloadPackages, unpackPackages } from './packages.ts';
import { run } from './run.ts';

const BuiltFile = z.object({ file: z.string(), bytes: z.int(), sha256: z.string() });
const Appliance = z.object({
  schema: z.literal(1),
  /** Digest of everything the build depends on. */
  inputs: z.string(),
  kernel: BuiltFile,
  initramfs: BuiltFile,
  unpacked: BuiltFile,
  /** What this one can, and earlier ones could not: ports on a network. */
  networkPorts: z.literal(true),
  packages: z.array(z.object({ name: z.string(), version: z.string(), sha256: z.string() })),
  guest: z.record(z.string(), z.string()),
});
type Appliance = z.infer<typeof Appliance>;

export interface BuiltAppliance {
  readonly directory: string;
  readonly built: boolean;
  readonly kernelSha256: string;
  readonly initramfsSha256: string;
  readonly initramfsBytes: number;
}

const guestFolder = new URL('../guest/', import.meta.url);

export const defaultApplianceDirectory = (): string =>
  process.env.BACKHAUL_APPLIANCE_DIRECTORY ?? join(homedir(), '.cache', 'backhaul', 'appliance');

/** `packagesFolder`: where downloads are kept; beside the appliance unless it is said. */
export async function buildAppliance(
  options: { to?: string; packagesFolder?: string } = {},
): Promise<BuiltAppliance> {
  const directory = resolve(options.to ?? defaultApplianceDirectory());
  const packagesFolder = resolve(options.packagesFolder ?? join(directory, 'packages'));
  const guest = await guestFiles();
  const { packages, inputs, standing } = await withCurrentLists(async () => {
    const packages = await appliancePackages(packagesFolder);
    const inputs = digest(
      JSON.stringify({
        schema: 1,
        packages,
        guest: [...guest].map(([name, contents]) => [name, digest(contents)]),
        // What compresses, and what decides what goes in, are inputs too.
        zstd: process.versions.zstd ?? '',
        build: await ownSource(),
      }),
    );
    const standing = await read(directory);
    if (standing?.inputs === inputs) return { packages, inputs, standing };
    await downloadPackages(packages, packagesFolder);
    return { packages, inputs, standing: undefined };
  });
  if (standing !== undefined) return answer(directory, standing, false);

  await mkdir(directory, { recursive: true });
  const work = await mkdtemp(join(directory, 'building-'));
  try {
    const root = join(work, 'root');
    await unpackPackages(packages, packagesFolder, root);
    const kernel = await readFile(join(root, 'boot', await kernelName(root)));
    const unpacked = writeCpio(await initramfsEntries(root, guest));
    const initramfs = compress(unpacked);
    const appliance: Appliance = {
      schema: 1,
      inputs,
      kernel: { file: 'vmlinuz', bytes: kernel.length, sha256: digest(kernel) },
      initramfs: { file: 'initramfs.zst', bytes: initramfs.length, sha256: digest(initramfs) },
      unpacked: { file: 'initramfs.cpio', bytes: unpacked.length, sha256: digest(unpacked) },
      networkPorts: true,
      packages: [...packages],
      guest: Object.fromEntries([...guest].map(([name, contents]) => [name, digest(contents)])),
    };
    // Two builders at once write the same bytes; each file is there whole or not at all, and the one that vouches is last.
    await put(work, directory, appliance.kernel.file, kernel);
    await put(work, directory, appliance.initramfs.file, initramfs);
    await put(work, directory, appliance.unpacked.file, unpacked);
    await put(work, directory, 'appliance.json', `${JSON.stringify(appliance, undefined, 2)}\n`);
    await removeOldPackages(packagesFolder, packages);
    return answer(directory, appliance, true);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A fresh machine may have no package lists, or lists that name versions which the archive has let go of: root may bring new ones. */
export async function withCurrentLists<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (process.getuid?.() !== 0) throw error;
    const refreshed = await run('apt-get', ['-qq', 'update'], { milliseconds: 300_000 }).then(
      () => true,
      () => false,
    );
    // What was in the way at first says more than why no lists could be had.
    if (!refreshed) throw error;
    return await work();
  }
}

const digest = (contents: Buffer | string): string => createHash('sha256').update(contents).digest('hex');

/** Zstandard: a quarter smaller than gzip, and unpacked in a third of the time, which an emulated guest feels. */
const compress = (archive: Buffer): Buffer =>
  zstdCompressSync(archive, { params: { [constants.ZSTD_c_compressionLevel]: 15 } });

/** By name, in order. */
async function guestFiles(): Promise<Map<string, Buffer>> {
  const names = (await readdir(guestFolder)).sort();
  return new Map(
    await Promise.all(
      names.map(
        async (name): Promise<[string, Buffer]> => [name, await readFile(new URL(name, guestFolder))],
      ),
    ),
  );
}

async function ownSource(): Promise<string> {
  const texts = ['./build.ts', './contents.ts', './cpio.ts'].map((name) =>
    readFile(new URL(name, import.meta.url)),
  );
  return digest(Buffer.concat(await Promise.all(texts)));
}

async function kernelName(root: string): Promise<string> {
  const name = (await readdir(join(root, 'boot'))).find((one) => one.startsWith('vmlinuz-'));
  if (name === undefined) throw new Fault("The kernel's package has no kernel", { permanent: true });
  return name;
}

/** Undefined unless all files are there as they were described. */
async function read(directory: string): Promise<Appliance | undefined> {
  try {
    const appliance = Appliance.parse(JSON.parse(await readFile(join(directory, 'appliance.json'), 'utf8')));
    for (const { file, sha256 } of [appliance.kernel, appliance.initramfs, appliance.unpacked]) {
      if (digest(await readFile(join(directory, file))) !== sha256) return undefined;
    }
    return appliance;
  } catch {
    return undefined;
  }
}

async function put(work: string, directory: string, name: string, contents: Buffer | string): Promise<void> {
  await writeFile(join(work, name), contents);
  await rename(join(work, name), join(directory, name));
}

async function removeOldPackages(folder: string, packages: readonly DebianPackage[]): Promise<void> {
  const current = new Set(packages.map(({ sha256 }) => `${sha256}.deb`));
  for (const name of await readdir(folder)) {
    if (name.endsWith('.deb') && !current.has(name)) await rm(join(folder, name), { force: true });
  }
}

const answer = (directory: string, appliance: Appliance, built: boolean): BuiltAppliance => ({
  directory,
  built,
  kernelSha256: appliance.kernel.sha256,
  initramfsSha256: appliance.initramfs.sha256,
  initramfsBytes: appliance.initramfs.bytes,
});

if (import.meta.main) {
  const { values } = parseArgs({ options: { to: { type: 'string' } } });
  try {
    const done = await buildAppliance(values);
    const size = formatBytes(done.initramfsBytes);
    console.log(
      `${done.built ? 'built' : 'already built'}: ${done.directory} (initramfs ${size}, sha256 ${done.initramfsSha256})`,
    );
  } catch (error) {
    console.error(`Building the appliance failed: ${describeError(error)}`);
    process.exitCode = 1;
  }
}
