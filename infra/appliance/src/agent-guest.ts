/**
 * A guest with QEMU's own guest agent, as Debian packages it, and a file system on its first disk to which it never stops
 * writing: for tests of what a freeze is worth. Like the writing guest it boots from the appliance's kernel and initramfs
 * with a second archive behind it; the kernel has ext4 built in.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { buildAppliance, withCurrentLists } from './build.ts';
import { libraries } from './contents.ts';
import { type ArchiveEntry, writeCpio } from './cpio.ts';
import { downloadPackages, lookUpPackages, unpackPackages } from './packages.ts';

const folder = new URL('../agent-guest/', import.meta.url);
const AGENT = 'usr/sbin/qemu-ga';
const PACKAGES = [
  'qemu-guest-agent',
  // What it is linked against; the build fails, and names it, when one is missing here.
  'libc6',
  'libglib2.0-0',
  'libnuma1',
  'libpcre2-8-0',
  'libudev1',
  'liburing2',
];

export interface AgentGuest {
  readonly kernel: string;
  readonly initramfs: string;
  /** For QEMU's `-append`. */
  readonly commandLine: string;
  /** The names of its channels. */
  readonly agentChannel: string;
  /** A line is a command of a shell; its output ends with a line `status CODE`. */
  readonly shellChannel: string;
}

/** Makes its initramfs in `directory`; what costs time is kept beside the appliance, which is built where it is not built yet. */
export async function buildAgentGuest(directory: string): Promise<AgentGuest> {
  const appliance = await buildAppliance();
  const kept = join(appliance.directory, 'agent-guest');
  const archive = await withCurrentLists(async () => await secondArchive(kept));
  const first = await readFile(join(appliance.directory, 'initramfs.cpio'));
  const padding = Buffer.alloc((4 - (first.length % 4)) % 4);
  await mkdir(directory, { recursive: true });
  const initramfs = join(directory, 'agent-guest.initramfs');
  await writeFile(initramfs, Buffer.concat([first, padding, archive]));
  return {
    kernel: join(appliance.directory, 'vmlinuz'),
    initramfs,
    commandLine: 'console=ttyS0 quiet panic=-1 rdinit=/lib/agent-guest/init',
    agentChannel: 'org.qemu.guest_agent.0',
    shellChannel: 'org.backhaul.shell',
  };
}

/** Unpacked and packed once for the same packages and files: a name that is there is the whole of it. */
async function secondArchive(kept: string): Promise<Buffer> {
  const packagesFolder = join(kept, 'packages');
  const packages = await lookUpPackages(PACKAGES, packagesFolder);
  const own = await Promise.all(
    (await readdir(folder)).sort().map((name) => program(`lib/agent-guest/${name}`, new URL(name, folder))),
  );
  const inputs = createHash('sha256').update(JSON.stringify({ packages, own, AGENT })).digest('hex');
  const path = join(kept, `${inputs}.cpio.zst`);
  const standing = await readFile(path).catch(() => undefined);
  if (standing !== undefined) return standing;

  await downloadPackages(packages, packagesFolder);
  const work = await mkdtemp(join(kept, 'building-'));
  try {
    const root = join(work, 'root');
    await unpackPackages(packages, packagesFolder, root);
    const agent = await program('bin/qemu-ga', join(root, AGENT));
    const archive = zstdCompressSync(writeCpio([agent, ...own, ...(await libraries(root, [AGENT]))]));
    await writeFile(join(work, 'archive'), archive);
    await rename(join(work, 'archive'), path);
    return archive;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const program = async (path: string, from: string | URL): Promise<ArchiveEntry> => ({
  path,
  kind: 'file',
  executable: true,
  contents: await readFile(from),
});
