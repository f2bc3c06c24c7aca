/** A recovery as the services before this one tell it, and targets to write it to. */
import {
  type EventData,
  Machine,
  Policy,
  type Recorded,
  type RecoveryPlan,
  streamName,
} from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import type { NbdExport } from '@backhaul/nbd';
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
