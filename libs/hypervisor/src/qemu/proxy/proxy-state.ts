/**
 * What is known of a proxy between calls, and after a crash: one file per proxy, written before each step that it makes
 * possible to undo. No file: there is no proxy, no process and no socket of one.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { derivedId } from '@backhaul/kernel';
import { z } from 'zod';
import { requireId } from '../../directory/snapshot-state.ts';
import { readState, removeFolder, writeState } from '../../state-file.ts';
import type { DiskOfProxy } from './proxies.ts';

const ProxyState = z.object({
  schema: z.literal(1),
  proxyId: z.string(),
  ports: z.int().positive(),
  accelerator: z.enum(['kvm', 'tcg']),
  /** Why that accelerator, for people. */
  acceleratorBecause: z.string(),
  /** False until its appliance was ready for the first time. */
  ready: z.boolean(),
  /** Disks that may be attached: each is here before it is added, and until it has been seen gone. */
  disks: z.array(z.object({ snapshotId: z.string(), diskId: z.string(), serial: z.string() })),
  /** Why nothing can be expected of it any more, once it stopped doing what it is told. */
  lost: z.string().nullable(),
});
export type ProxyState = z.infer<typeof ProxyState>;

/** A virtio disk's serial has room for 20 characters, and the ids for many more: the mapping is kept in the state. */
const SERIAL_CHARACTERS = 20;

export const serialOf = (disk: Pick<DiskOfProxy, 'snapshotId' | 'diskId'>): string =>
  derivedId('proxy-disk', disk.snapshotId, disk.diskId).replaceAll('-', '').slice(0, SERIAL_CHARACTERS);

export class ProxyStates {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  folderOf(proxyId: string): string {
    requireId('proxy', proxyId);
    return join(this.#folder, proxyId);
  }

  async ids(): Promise<string[]> {
    return (await readdir(this.#folder).catch(() => [])).sort();
  }

  read(proxyId: string): Promise<ProxyState | undefined> {
    return readState(join(this.folderOf(proxyId), 'proxy.json'), ProxyState);
  }

  write(state: ProxyState): Promise<void> {
    return writeState(join(this.folderOf(state.proxyId), 'proxy.json'), state);
  }

  forget(proxyId: string): Promise<void> {
    return removeFolder(this.folderOf(proxyId));
  }
}
