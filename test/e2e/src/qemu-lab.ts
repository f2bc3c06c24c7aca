/**
 * A lab whose host has running VMs: QEMU processes whose guests write without a pause, and proxies that are VMs of their own. The
 * truth about a backup is taken independently of Backhaul: the VM stands still, its disks are copied by QEMU's own tool, the
 * backup is asked for, and only when its snapshot has been taken does the guest write on.
 */
import { execFile } from 'node:child_process';
import { hash } from 'node:crypto';
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildAppliance, buildWritingGuest, type WritingGuest } from '@backhaul/appliance';
import type { ProxyNetwork } from '@backhaul/contracts';
import { withQmp } from '@backhaul/hypervisor';
import { startWritingVm, type WritingVm } from '@backhaul/local';
import { makeImage, sha256Of, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';

const run = promisify(execFile);

export interface DiskOrder {
  readonly diskId: string;
  readonly sizeBytes: number;
  /** Random bytes from here on, put there before the guest boots. */
  readonly random: readonly (readonly [offset: number, length: number])[];
}

export interface VmOrder {
  readonly disks: readonly DiskOrder[];
  readonly pauseMilliseconds?: number;
  readonly records?: number;
}

export interface QemuLab extends Lab {
  vm(vmId: string, order: VmOrder): Promise<WritingVm>;
  imageOf(vmId: string, diskId: string): string;
  /** Copies the disks of a VM that stands still; answers their digests. */
  truth(vm: WritingVm, diskIds: readonly string[]): Promise<Record<string, string>>;
  /** A backup whose instant is known: the VM stands still from before the copies until after the snapshot. */
  backupOfKnownInstant(
    vm: WritingVm,
    diskIds: readonly string[],
    more: Record<string, unknown>,
  ): Promise<{ backupId: string; truth: Record<string, string> }>;
  /** The disk of a VM that was recovered to the host. */
  recoveredDisk(vmId: string, diskId: string): string;
  /** Ends a VM that a recovery has started. */
  quit(vmId: string): Promise<void>;
  /** What proxies boot from now on is another build. */
  renewAppliance(): Promise<void>;
  /** What lies in the host's state directory of snapshots, proxies and scratch files: nothing, once all was given back. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}

/** `proxyNetwork`: where the ports of its proxies are, unless they are channels of the VMs. */
export async function openQemuLab(proxyNetwork?: ProxyNetwork): Promise<QemuLab> {
  const own = await mkdtemp(join(tmpdir(), 'bq-'));
  const folder = join(own, 'vms');
  await mkdir(folder);
  // A copy, so that it can be changed.
  const applianceDirectory = join(own, 'appliance');
  await cp((await buildAppliance()).directory, applianceDirectory, { recursive: true });
  const guest: WritingGuest = await buildWritingGuest(join(own, 'guest'));
  const lab = await openLab({
    hosts: [
      {
        hostId: HOST,
        kind: 'qemu',
        address: folder,
        ...(proxyNetwork === undefined ? {} : { proxyNetwork }),
      },
    ],
    applianceDirectory,
  });
  const vms: WritingVm[] = [];
  const imageOf = (vmId: string, diskId: string): string => join(own, `${vmId}.${diskId}.qcow2`);

  const truth: QemuLab['truth'] = async (vm, diskIds) => {
    const digests: Record<string, string> = {};
    for (const diskId of diskIds) {
      const copy = join(own, `${vm.vmId}.${diskId}.truth`);
      await run('qemu-img', [
        ...['convert', '-U', '-f', 'qcow2', '-O', 'raw', imageOf(vm.vmId, diskId), copy],
      ]);
      digests[diskId] = await sha256Of(copy);
      await rm(copy);
    }
    return digests;
  };

  return {
    ...lab,
    imageOf,
    async renewAppliance() {
      const description = join(applianceDirectory, 'appliance.json');
      const described = JSON.parse(await readFile(description, 'utf8'));
      const file = join(applianceDirectory, described.initramfs.file);
      // An archive may end in zeros: it boots as it did.
      await appendFile(file, Buffer.alloc(512));
      const bytes = await readFile(file);
      Object.assign(described.initramfs, { bytes: bytes.length, sha256: hash('sha256', bytes) });
      await writeFile(description, JSON.stringify(described));
    },
    truth,
    async vm(vmId, order) {
      for (const { diskId, sizeBytes, random } of order.disks) {
        await makeImage(imageOf(vmId, diskId), sizeBytes);
        for (const [offset, length] of random) await writeRandom(imageOf(vmId, diskId), offset, length);
      }
      const { disks: _, ...rest } = order;
      const vm = await startWritingVm({
        ...rest,
        vmId,
        folder,
        guest,
        disks: order.disks.map(({ diskId }) => ({ diskId, path: imageOf(vmId, diskId), format: 'qcow2' })),
      });
      vms.push(vm);
      await vm.hasWritten(20);
      return vm;
    },
    async backupOfKnownInstant(vm, diskIds, more) {
      await vm.stop();
      try {
        const known = await truth(vm, diskIds);
        const backupId = await lab.backup(vm.vmId, more);
        await lab.until(backupId, 'SnapshotTaken', 1);
        return { backupId, truth: known };
      } finally {
        await vm.go();
      }
    },
    recoveredDisk: (vmId, diskId) => join(folder, 'vms', vmId, `${diskId}.qcow2`),
    async quit(vmId) {
      const monitor = { path: join(folder, `${vmId}.qmp`), target: `VM ${vmId}` };
      await withQmp(monitor, (qmp) => qmp.execute('quit'));
    },
    async leftovers() {
      const state = join(lab.stack.stateDirectory, HOST);
      const found = [];
      for (const kind of ['snapshots', 'proxies', 'scratch']) {
        const names = await readdir(join(state, kind)).catch(() => []);
        found.push(...names.map((name) => `${kind}/${name}`));
      }
      return found;
    },
    async close() {
      for (const vm of vms) await vm.kill();
      await lab.close();
      await rm(own, { recursive: true, force: true });
    },
  };
}
