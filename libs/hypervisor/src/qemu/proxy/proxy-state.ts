/**
 * What is known of a proxy between calls, and after a crash: one file per proxy, written before each step that it makes
 * possible to undo. No file: there is no proxy, no process and no socket of one.
 */
import { derivedId } from '@backhaul/kernel';
import { z } from 'zod';
import { NotedThings } from '../../noted-things.ts';
import type { DiskOfProxy } from './proxies.ts';

/** When there were only snapshots to own a disk, the note said `snapshotId`. */
const namedByOwner = (noted: unknown): unknown => {
  const { snapshotId, ...rest } = noted as { snapshotId?: string };
  return snapshotId === undefined ? rest : { ...rest, ownerId: snapshotId };
};

const ProxyState = z.object({
  schema: z.literal(1),
  proxyId: z.string(),
  ports: z.int().positive(),
  /** Of its network, with the prefix, where its ports are on one. */
  address: z.string().nullable().default(null),
  accelerator: z.enum(['kvm', 'tcg']),
  /** Why that accelerator, for people. */
  acceleratorBecause: z.string(),
  /** Which build of the appliance it was booted from; an earlier release did not note it. */
  appliance: z.string().nullable().default(null),
  /** False until its appliance was ready for the first time. */
  ready: z.boolean(),
  /** Disks that may be attached: each is here before it is added, and until it has been seen gone. */
  disks: z.array(
    z.preprocess(namedByOwner, z.object({ ownerId: z.string(), diskId: z.string(), serial: z.string() })),
  ),
  /** Why nothing can be expected of it any more, once it stopped doing what it is told. */
  lost: z.string().nullable(),
});
export type ProxyState = z.infer<typeof ProxyState>;

/** A virtio disk's serial has room for 20 characters, and the ids for many more: the mapping is kept in the state. */
const SERIAL_CHARACTERS = 20;

export const serialOf = (disk: Pick<DiskOfProxy, 'ownerId' | 'diskId'>): string =>
  derivedId('proxy-disk', disk.ownerId, disk.diskId).replaceAll('-', '').slice(0, SERIAL_CHARACTERS);

export class ProxyStates extends NotedThings<typeof ProxyState> {
  constructor(folder: string) {
    super(folder, 'proxy', ProxyState, ({ proxyId }) => proxyId);
  }
}
