/**
 * A disk that a machine boots from by itself, as the disk of a VM is: a FAT file system with the syslinux boot loader, the appliance's kernel
 * and initramfs, and behind that a second archive with another first process (booting-guest/init). Made without mounting anything
 * and without being root. What boots from it says a line on its serial console.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildAppliance } from './build.ts';
import { type ArchiveEntry, writeCpio } from './cpio.ts';
import { run } from './run.ts';
import { writingGuestFiles } from './writing-guest.ts';

/** Of the disk, a raw image. */
const KIBIBYTES = 32 * 1024;

/**
 * `says`: a word that the line has. `off`: then the machine powers itself off. Answers what the line begins with. Builds the appliance
 * where it is not built yet.
 */
export async function makeBootableDisk(
  path: string,
  says: string,
  { off = false }: { off?: boolean } = {},
): Promise<string> {
  const init = await readFile(new URL('../booting-guest/init', import.meta.url));
  const files = [{ path: 'booting-init', kind: 'file' as const, executable: true, contents: init }];
  await makeDisk(path, files, `rdinit=/booting-init booting.says=${says}${off ? ' booting.off' : ''}`);
  return `booted: ${says},`;
}

/** Of a machine whose guest writes numbered records to all its other disks (writing-guest.ts), and says so every `tell` of them. */
export async function makeWritingDisk(path: string, tell: number): Promise<void> {
  const options = `writing.pause=5 writing.skip=1 writing.tell=${tell}`;
  await makeDisk(path, await writingGuestFiles(), `rdinit=/writing-init ${options}`);
}

async function makeDisk(path: string, files: readonly ArchiveEntry[], append: string): Promise<void> {
  const appliance = await buildAppliance();
  const work = await mkdtemp(join(tmpdir(), 'bootable-'));
  try {
    const first = await readFile(join(appliance.directory, 'initramfs.zst'));
    const padding = Buffer.alloc((4 - (first.length % 4)) % 4);
    await writeFile(join(work, 'initrd'), Buffer.concat([first, padding, writeCpio(files)]));
    const config = [
      'DEFAULT guest',
      'LABEL guest',
      'KERNEL vmlinuz',
      'INITRD initrd',
      `APPEND console=ttyS0 quiet panic=-1 mitigations=off ${append}`,
      '',
    ];
    await writeFile(join(work, 'syslinux.cfg'), config.join('\n'));
    await run('mkfs.vfat', ['-C', '-n', 'BOOT', path, String(KIBIBYTES)]);
    await run('syslinux', ['--install', path]);
    const onDisk = [join(appliance.directory, 'vmlinuz'), join(work, 'initrd'), join(work, 'syslinux.cfg')];
    await run('mcopy', ['-i', path, ...onDisk, '::']);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
