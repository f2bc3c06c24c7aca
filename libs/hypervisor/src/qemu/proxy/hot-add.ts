/**
 * A disk, hot-added to a running proxy VM over QMP: an NBD client node, and a virtio disk on it, read-only or writable as the source.
 *
 * virtio-blk, one PCI slot each, and not disks of one SCSI controller: the machine has 29 free slots, 28 with a network card, and products of this
 * kind hold at most 25 hot-added disks per proxy. A SCSI disk is probed more when it comes, and waits longer when it goes.
 * A source that is gone, or has no room left, makes errors, at once (`reconnect-delay` 0, `werror`), and not a guest that hangs.
 * A flush of the guest is one of the source: the disk says that it has a cache, and QEMU hands every flush on.
 */
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import type { QmpClient } from '../../qmp.ts';
import type { DiskSource } from './proxies.ts';

/** A source that accepts and then says nothing holds up the whole proxy for as long as this: it is local and answers in ms. */
const SOURCE_OPEN_SECONDS = 3;

/** Free PCI slots of the machine. A proxy on a network has its card in one. */
export const hotAddsMax = ({ isOnNetwork }: { readonly isOnNetwork: boolean }): number =>
  isOnNetwork ? 28 : 29;

const deviceOf = (serial: string): string => `disk-${serial}`;
/** Node names have 31 characters at most. */
const nodeOf = (serial: string): string => `src-${serial}`;

const Peripherals = z.array(z.object({ name: z.string() }));
const Nodes = z.array(z.object({ 'node-name': z.string().optional() }));

/** Serials of the disks that the VM has, as QEMU sees it. */
export async function serialsIn(qmp: QmpClient): Promise<string[]> {
  const found = await qmp.execute('qom-list', {
    arguments: { path: '/machine/peripheral' },
    reply: Peripherals,
  });
  return found.filter(({ name }) => name.startsWith('disk-')).map(({ name }) => name.slice('disk-'.length));
}

/** Adds the disk unless it is there. A refused one leaves nothing; the Fault has QEMU's words. */
export async function addDisk(qmp: QmpClient, serial: string, source: DiskSource): Promise<void> {
  if ((await serialsIn(qmp)).includes(serial)) return;
  // Of an attempt that did not get to its end.
  await removeNode(qmp, serial);
  await qmp.execute('blockdev-add', {
    arguments: {
      driver: 'nbd',
      'node-name': nodeOf(serial),
      'read-only': source.access === 'read-only',
      'auto-read-only': false,
      server: { type: 'unix', path: source.socketPath },
      export: source.exportName,
      'reconnect-delay': 0,
      'open-timeout': SOURCE_OPEN_SECONDS,
    },
  });
  try {
    await qmp.execute('device_add', {
      arguments: {
        driver: 'virtio-blk-pci',
        id: deviceOf(serial),
        drive: nodeOf(serial),
        serial,
        rerror: 'report',
        // QEMU's own choice is to stop the whole proxy where a disk is full.
        werror: 'report',
        'write-cache': 'on',
      },
    });
  } catch (cause) {
    await removeNode(qmp, serial).catch(() => undefined);
    throw cause;
  }
}

/**
 * Takes the disk from the guest, also from servers that still read it, and lets go of the source. The guest has to agree:
 * one that does not within `milliseconds` makes a Fault with code `GuestStuck`.
 */
export async function removeDisk(qmp: QmpClient, serial: string, milliseconds: number): Promise<void> {
  const id = deviceOf(serial);
  const deleted = qmp.waitForEvent('DEVICE_DELETED', (data) => data.device === id, milliseconds);
  deleted.catch(() => undefined);
  if ((await serialsIn(qmp)).includes(serial)) {
    // Asked before, by a caller that did not wait for the end: the guest was told, and will do it or not.
    await qmp.execute('device_del', { arguments: { id } }).catch((error: Error) => {
      if (!error.message.includes('already in the process of unplug')) throw error;
    });
    await deleted.catch(async (cause) => {
      // It may have gone between the list and our question.
      if (!(await serialsIn(qmp)).includes(serial)) return;
      throw new Fault(`The guest did not let go of disk ${serial}`, { cause, code: 'GuestStuck' });
    });
  }
  await removeNode(qmp, serial);
}

async function removeNode(qmp: QmpClient, serial: string): Promise<void> {
  const nodes = await qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Nodes });
  if (!nodes.some((node) => node['node-name'] === nodeOf(serial))) return;
  await qmp.execute('blockdev-del', { arguments: { 'node-name': nodeOf(serial) } });
}
