/**
 * The distribution packages an appliance is made of: looked up, downloaded and unpacked, never installed. The package lists
 * of this machine's apt say which versions; what was downloaded is checked against the digest they give, and kept by it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, Fault } from '@backhaul/kernel';
import { showPackages } from './apt-answers.ts';
import { run } from './run.ts';

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

/** Depends on the newest kernel made for virtual machines; has none itself. */
const KERNEL_META = 'linux-image-cloud-amd64';
const PROGRAMS = ['busybox-static', 'lua5.3', 'lua-posix', 'nbdkit'];
/** What the programs are linked against; the build fails, and names it, when one is missing here. */
const LIBRARIES = [
  'libc6',
  'libcrypt1',
  'libffi8',
  'libgmp10',
  'libgnutls30',
  'libhogweed6',
  'libidn2-0',
  'libnettle8',
  'libp11-kit0',
  'libpcre2-8-0',
  'libreadline8',
  'libselinux1',
  'libtasn1-6',
  'libtinfo6',
  'libunistring2',
];

/** What the appliance is made of. `folder`: of the packages. */
export async function appliancePackages(folder: string): Promise<DebianPackage[]> {
  const [meta] = await show([KERNEL_META], folder);
  const kernel = /linux-image-[0-9][^ ,]*-cloud-amd64/.exec(meta?.Depends ?? '')?.[0];
  if (kernel === undefined)
    throw new Fault(`Package ${KERNEL_META} depends on no kernel`, { permanent: true });
  return await lookUpPackages([kernel, ...PROGRAMS, ...LIBRARIES].sort(), folder);
}

/** Throws a Fault that says what to do when apt knows no such packages. */
export async function lookUpPackages(names: readonly string[], folder: string): Promise<DebianPackage[]> {
  const found = await show(names, folder);
  return names.map((name) => {
    const fields = found.find((one) => one.Package === name);
    const [version, sha256] = [fields?.Version, fields?.SHA256];
    if (version === undefined || sha256 === undefined) throw unknown(name);
    return { name, version, sha256 };
  });
}

const unknown = (name: string, cause?: unknown): Fault =>
  new Fault(`apt knows no package ${name} with a digest: run apt-get update, on Debian 12 for amd64`, {
    cause,
    code: 'PackageUnknown',
  });

const show = (names: readonly string[], folder: string) =>
  showPackages(names, folder).catch((cause: unknown) => {
    throw unknown(names.join(', '), cause);
  });

/** Brings every package into `folder`, as `<sha256>.deb`; those that are there already are believed. */
export async function downloadPackages(packages: readonly DebianPackage[], folder: string): Promise<void> {
  const fileOf = ({ sha256 }: DebianPackage) => join(folder, `${sha256}.deb`);
  const missing = packages.filter((one) => !existsSync(fileOf(one)));
  if (missing.length === 0) return;
  await mkdir(folder, { recursive: true });
  const arriving = await mkdtemp(join(folder, 'arriving-'));
  try {
    const wanted = missing.map(({ name, version }) => `${name}=${version}`);
    // As root, apt fetches as a user of its own, who may not write here: it says so and does it as root, which is meant.
    const asUs = ['-o', 'APT::Sandbox::User=root'];
    await run('apt-get', [...asUs, '-qq', 'download', ...wanted], { cwd: arriving, milliseconds: 300_000 });
    const byDigest = new Map(missing.map((one) => [one.sha256, one]));
    for (const name of await readdir(arriving)) {
      const digest = createHash('sha256')
        .update(await readFile(join(arriving, name)))
        .digest('hex');
      const known = byDigest.get(digest);
      if (known === undefined) throw new Fault(`${name} has digest ${digest}, which apt's lists do not name`);
      await rename(join(arriving, name), fileOf(known));
      byDigest.delete(digest);
    }
    const lacking = [...byDigest.values()].map(({ name }) => name);
    if (lacking.length > 0) throw new Fault(`apt-get did not bring ${lacking.join(', ')}`);
  } catch (cause) {
    throw new Fault(`Downloading packages for the appliance failed: ${describeError(cause)}`, { cause });
  } finally {
    await rm(arriving, { recursive: true, force: true });
  }
}

/** Unpacks every package into one tree. */
export async function unpackPackages(
  packages: readonly DebianPackage[],
  folder: string,
  root: string,
): Promise<void> {
  for (const { sha256 } of packages) await run('dpkg-deb', ['-x', join(folder, `${sha256}.deb`), root]);
}
