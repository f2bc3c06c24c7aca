/** The facts of a told backup, worked out from the few numbers that a test gives. */
import { CHUNK_BYTES, type Policy } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import { instantAt } from './teller.ts';

export interface BackupStory {
  readonly name: string;
  readonly hostId?: string;
  readonly vmId?: string;
  readonly diskIds?: readonly string[];
  readonly jobsPerDisk?: number;
  readonly chunksPerJob?: number;
  /** Proxies of the run; the first is shared when `shared` is set, the others are started for it. */
  readonly proxies?: number;
  readonly shared?: boolean;
  /** The first child job loses its proxy half-way, and goes on through the next one. */
  readonly interrupted?: boolean;
  /** The second disk could not be incremental. */
  readonly fallback?: boolean;
  readonly policy?: Partial<Policy>;
}

export const backupIdOf = (name: string): string => derivedId('story', name);
export const DIGEST = 'ab'.repeat(32);
export const identity = (sizeBytes: number) => ({ format: 'qcow2', inode: '1:2', sizeBytes });

export interface Facts {
  readonly backupId: string;
  readonly hostId: string;
  readonly vmId: string;
  readonly diskIds: readonly string[];
  readonly jobs: readonly { childJobId: string; diskId: string; offset: number; length: number }[];
  readonly diskBytes: number;
  readonly proxyIds: readonly string[];
}

export function factsOf(story: BackupStory): Facts {
  const {
    hostId = 'lab',
    vmId = 'web-1',
    diskIds = ['vda', 'vdb'],
    jobsPerDisk = 2,
    chunksPerJob = 4,
  } = story;
  const backupId = backupIdOf(story.name);
  const length = chunksPerJob * CHUNK_BYTES;
  return {
    backupId,
    hostId,
    vmId,
    diskIds,
    diskBytes: length * jobsPerDisk,
    jobs: diskIds.flatMap((diskId) =>
      Array.from({ length: jobsPerDisk }, (_, index) => ({
        childJobId: `${backupId}.${diskId}.${index}`,
        diskId,
        offset: index * length,
        length,
      })),
    ),
    proxyIds: Array.from({ length: story.proxies ?? 2 }, (_, index) =>
      index === 0 && story.shared === true ? `${hostId}-shared` : `${story.name}-p${index + 1}`,
    ),
  };
}

export type Job = Facts['jobs'][number];

export const startedProxies = (story: BackupStory, { proxyIds }: Facts): readonly string[] =>
  story.shared === true ? proxyIds.slice(1) : proxyIds;

export const restorePoint = ({ backupId, diskIds, diskBytes }: Facts) => ({
  backupId,
  manifestDigest: DIGEST,
  takenAt: instantAt(3),
  disks: diskIds.map((diskId) => ({
    diskId,
    sizeBytes: diskBytes,
    identity: identity(diskBytes),
    checkpoint: backupId,
  })),
});
