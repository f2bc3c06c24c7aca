/** A recovery as the services before this one tell it, and targets to write it to. */
import { randomBytes } from 'node:crypto';
import {
  type EventData,
  Machine,
  Policy,
  type Recorded,
  type RecoveryPlan,
  streamName,
} from '@backhaul/contracts';
import { derivedId, MiB } from '@backhaul/kernel';
import type { NbdExport } from '@backhaul/nbd';
import type { Repository, Segment } from '@backhaul/repository';
import type { Lease } from './export-job.ts';

export const AT = '2026-01-02T00:00:00.000Z';

export interface PlannedPortion {
  readonly offset: number;
  readonly length: number;
}

/** Of one disk `vda`, cut into these portions. */
export function recoveryPlan(
  recoveryId: string,
  of: { backupId: string; manifestDigest: string; sizeBytes: number; verify?: boolean },
  portions: readonly PlannedPortion[],
): RecoveryPlan {
  const { backupId, manifestDigest, sizeBytes, verify = false } = of;
  return {
    ...{
      recoveryId,
      backupId,
      manifestDigest,
      hostId: 'lab',
      vmId: 'web2',
      policy: Policy.parse({}),
      ...{ priority: 'high', askedAt: AT },
      verify,
    },
    ...{ mode: 'proxy-vm', modeReason: 'large', replace: false, start: true, machine: Machine.parse({}) },
    disks: [{ diskId: 'vda', sizeBytes, bytesToWrite: sizeBytes, streams: portions.length }],
    childJobs: portions.map(({ offset, length }, index) => ({
      ...{ childJobId: `${recoveryId}.vda.${index}`, diskId: 'vda', offset, length, estimatedBytes: length },
    })),
    arithmetic: {
      ...{ totalBytes: sizeBytes, disks: 1, maxStreamsPerDisk: 2, streams: 2, portsPerStream: 1 },
      ...{ maxPortsPerProxy: 4, maxChildJobsPerProxy: 4, capacityPerProxy: 4, thresholdShare: 1 },
      activeProxies: 0,
    },
    ...{ proxiesCalculated: 1, proxies: 1, expectedShared: 0, waves: 1, limitedBy: [], rejected: [] },
  };
}

/** A lease of the ports `uris` for one data stream of the plan. */
export function leaseOf(plan: RecoveryPlan, index: number, fence: number, uris: readonly string[]): Lease {
  const job = plan.childJobs[index];
  const disk = plan.disks[0];
  if (job === undefined || disk === undefined) throw new Error(`The plan has no data stream ${index}`);
  const { childJobId, diskId, offset, length } = job;
  return {
    ...{ purpose: 'recovery', runId: plan.recoveryId, hostId: plan.hostId, vmId: plan.vmId },
    ...{ childJobId, diskId, offset, length, leaseId: `lease-${fence}`, fence, attempt: fence, wave: 1 },
    ...{ proxyId: 'p1', ports: uris.map((uri, port) => ({ port, uri })), diskBytes: disk.sizeBytes },
    readBack: uris[0] ?? '',
  };
}

export function leased(data: EventData<'PortsLeased'>): Recorded<'PortsLeased'> {
  return {
    ...{ type: 'PortsLeased', data, eventId: derivedId('lease', data.childJobId, data.fence), position: 1 },
    ...{ stream: streamName('host', data.hostId), category: 'host', version: 1, schemaVersion: 1 },
    metadata: { correlation: data.runId, causation: 'test', actor: 'proxy-manager' },
    recordedAt: AT,
  };
}

export interface Target extends NbdExport {
  readonly content: Uint8Array;
  /** Ranges, as often as they were written. */
  readonly writes: { readonly offset: number; readonly length: number }[];
  flushes: number;
}

/** A disk to be written: memory that remembers what was done to it. `changes`: what it does otherwise. */
export function targetDisk(
  sizeBytes: number,
  changes: (target: Target) => Partial<NbdExport> = () => ({}),
): Target {
  const target: Target = {
    ...{
      name: 'vda',
      sizeBytes,
      readOnly: false,
      content: new Uint8Array(sizeBytes),
      writes: [],
      flushes: 0,
    },
    read: async (offset, length) => [target.content.subarray(offset, offset + length)],
    extents: async (_, length) => [{ length, isHole: false }],
    async write(offset, data) {
      target.writes.push({ offset, length: data.length });
      target.content.set(data, offset);
    },
    async flush() {
      target.flushes += 1;
    },
  };
  return Object.assign(target, changes({ ...target }));
}

export const CHUNK = 4 * MiB;
export const SIZE = 5 * CHUNK;

/** A chunk, zeros, a chunk with zeros in it, two pieces of one chunk with a hole between, and a last one that is short. */
export async function sampleRestorePoint(repository: Repository) {
  const holed = Buffer.concat([randomBytes(MiB), Buffer.alloc(2 * MiB), randomBytes(MiB)]);
  const chunks = [randomBytes(CHUNK), holed, randomBytes(CHUNK), randomBytes(MiB)];
  const digests: string[] = [];
  for (const chunk of chunks) digests.push((await repository.putChunk(chunk)).digest ?? '');
  const [first, second, third, last] = digests as [string, string, string, string];
  const segments: Segment[] = [
    { offset: 0, length: CHUNK, digest: first, chunkOffset: 0 },
    { offset: CHUNK, length: CHUNK, digest: null, chunkOffset: 0 },
    { offset: 2 * CHUNK, length: CHUNK, digest: second, chunkOffset: 0 },
    { offset: 3 * CHUNK, length: MiB, digest: third, chunkOffset: 512 },
    { offset: 3 * CHUNK + MiB, length: 2 * MiB, digest: null, chunkOffset: 0 },
    { offset: 3 * CHUNK + 3 * MiB, length: MiB, digest: third, chunkOffset: 2 * MiB },
    { offset: 4 * CHUNK, length: MiB, digest: last, chunkOffset: 0 },
    { offset: 4 * CHUNK + MiB, length: 3 * MiB, digest: null, chunkOffset: 0 },
  ];
  const content = new Uint8Array(SIZE);
  for (const { offset, length, digest, chunkOffset } of segments) {
    const chunk = chunks[digests.indexOf(digest ?? '')];
    if (chunk !== undefined) content.set(chunk.subarray(chunkOffset, chunkOffset + length), offset);
  }
  const backupId = derivedId('test', 'restore point');
  const { digest: manifestDigest } = await repository.putManifest({
    ...{ backupId, hostId: 'lab', vmId: 'web', kind: 'full', takenAt: '2026-01-01T00:00:00.000Z' },
    ...{ parentBackupId: null, disks: [{ diskId: 'vda', sizeBytes: SIZE, segments }] },
  });
  return { content, digests, restorePoint: { backupId, manifestDigest, sizeBytes: SIZE } };
}
