/**
 * How a child job's portion is to be read. An incremental builds on its parent's restore point: where that cannot be read in this repository
 * any more the disk is read as a full, and where chunks of it are known to be damaged or missing their ranges are read again. The reason is on
 * the record: a restore point that cannot be restored is never made, and the chain heals itself.
 */
import type { EventStore } from '@backhaul/event-store';
import {
  describeError,
  type Extent,
  formatBytes,
  intersection,
  isPermanent,
  totalLength,
} from '@backhaul/kernel';
import type { ManifestDisk, Repository } from '@backhaul/repository';
import { requireAdopted } from './adopt-repository.ts';
import type { Lease } from './child-job.ts';
import { parentOf } from './transfer.ts';

export interface Order {
  readonly kind: 'full' | 'incremental';
  /** Why not as leased; null where it is. */
  readonly kindReason: string | null;
  /** Of an incremental: unchanged, and to be read all the same. */
  readonly damaged: readonly Extent[];
}

export interface OrderParts {
  readonly store: EventStore;
  readonly repository: Repository;
}

export async function orderFor({ store, repository }: OrderParts, lease: Lease): Promise<Order> {
  await requireAdopted(store, repository);
  if (lease.kind === 'full') return full(null);
  const parent = await parentOf(store, lease.runId);
  if (parent === null) return full('The plan names no parent restore point.');
  try {
    const stored = await repository.readManifest(parent.backupId);
    if (stored?.digest !== parent.manifestDigest) {
      const what = stored === undefined ? 'is not in the repository' : 'has another digest than the log says';
      return full(`The manifest of the parent restore point ${parent.backupId} ${what}.`);
    }
    const disk = stored.manifest.disks.find(({ diskId }) => diskId === lease.diskId);
    if (disk === undefined)
      return full(`The parent restore point ${parent.backupId} has no disk ${lease.diskId}.`);
    return incremental(await damagedOf(repository, disk, lease));
  } catch (error) {
    // A repository that is out of reach for a moment is no reason to read a disk in two ways, nor is one that lies somewhere else.
    if (!isPermanent(error)) throw error;
    await repository.requireThere();
    return full(`The parent restore point cannot be read: ${describeError(error)}`);
  }
}

const full = (kindReason: string | null): Order => ({ kind: 'full', kindReason, damaged: [] });

function incremental(damaged: readonly Extent[]): Order {
  if (damaged.length === 0) return { kind: 'incremental', kindReason: null, damaged };
  const bytes = formatBytes(totalLength(damaged));
  const kindReason = `${bytes} of the parent restore point lie in chunks that are damaged or missing in the repository: they are read again.`;
  return { kind: 'incremental', kindReason, damaged };
}

/** The ranges of this portion that the parent's map finds in such chunks. The map itself is checked in any case. */
async function damagedOf(repository: Repository, disk: ManifestDisk, portion: Extent): Promise<Extent[]> {
  const damaged = await repository.damagedChunks();
  const ranges: Extent[] = [];
  for await (const { offset, length, digest } of repository.readSegments(disk)) {
    if (damaged.size === 0) break;
    const range = intersection({ offset, length }, portion);
    if (digest !== null && range !== undefined && damaged.has(digest)) ranges.push(range);
  }
  return ranges;
}
