import { CHUNK_BYTES, type InspectedDisk, type PlannedChildJob, Policy } from '@backhaul/contracts';
import { extentEnd } from '@backhaul/kernel';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { anySize, densityOf } from './densities.fixture.ts';
import { inspectionOf } from './inspections.fixture.ts';
import { type PlanRequest, plan } from './plan.ts';

const request: PlanRequest = {
  ...{ backupId: 'b1', kind: 'auto', mode: 'auto', parent: null },
  ...{ priority: 'normal', askedAt: '2026-01-01T00:00:00.000Z' },
};

const anyDisk = (diskId: string): fc.Arbitrary<InspectedDisk> =>
  fc
    .record({ size: anySize, tracked: fc.boolean() })
    .chain(({ size: { sizeBytes, bucketBytes }, tracked }) => {
      return fc
        .record({ allocated: densityOf(sizeBytes, bucketBytes), changed: densityOf(sizeBytes, bucketBytes) })
        .map(
          ({ allocated, changed }): InspectedDisk => ({
            diskId,
            sizeBytes,
            identity: { format: 'qcow2', inode: diskId, sizeBytes },
            allocated,
            tracking: tracked
              ? { state: 'usable', checkpoint: 'cp', changed }
              : { state: 'unusable', code: 'CheckpointAbsent', reason: 'the bitmap is gone' },
          }),
        );
    });

const disks = fc
  .integer({ min: 1, max: 5 })
  .chain((n) => fc.tuple(...Array.from({ length: n }, (_, i) => anyDisk(`vd${i}`))));

const policy = fc
  .record({
    childJobBytes: fc.integer({ min: 1, max: 200 }).map((slots) => slots * CHUNK_BYTES),
    maxChildJobsPerProxy: fc.integer({ min: 1, max: 25 }),
    maxPortsPerProxy: fc.integer({ min: 4, max: 32 }),
    portsPerChildJob: fc.integer({ min: 1, max: 4 }),
    maxProxiesPerHost: fc.integer({ min: 1, max: 40 }),
    maxDirectStreams: fc.integer({ min: 1, max: 8 }),
    mode: fc.constantFrom('auto' as const, 'proxy-vm' as const, 'direct-to-host' as const),
  })
  .map((fields) => Policy.parse(fields));

const activeProxies = fc
  .integer({ min: 0, max: 10 })
  .map((n) => Array.from({ length: n }, (_, i) => ({ proxyId: `p${i}`, ports: 4 })));

const planned = (
  given: readonly InspectedDisk[],
  byPolicy: Policy,
  active: { proxyId: string; ports: number }[] = [],
) => {
  const result = plan(inspectionOf([...given]), request, byPolicy, { activeProxies: active });
  if (!result.ok) throw new Error(result.refusal.message);
  return result.value;
};

const jobsOf = (jobs: readonly PlannedChildJob[], diskId: string) =>
  jobs.filter((job) => job.diskId === diskId);

describe('whatever the disks and the policy', () => {
  test('the child jobs of a disk partition it, in order, and their bytes add up', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const result = planned(given, byPolicy);
        for (const disk of result.disks) {
          const jobs = jobsOf(result.childJobs, disk.diskId);
          expect(jobs).toHaveLength(disk.childJobs);
          const starts = [0, ...jobs.map(extentEnd)].slice(0, -1);
          expect(jobs.map((job) => job.offset)).toEqual(starts);
          expect(jobs.filter((job) => job.length === 0 || job.estimatedBytes < 0)).toEqual(
            disk.sizeBytes === 0 ? jobs : [],
          );
          expect(extentEnd(jobs.at(-1) as PlannedChildJob)).toBe(disk.sizeBytes);
          expect(jobs.reduce((sum, job) => sum + job.estimatedBytes, 0)).toBe(disk.bytesToRead);
        }
      }),
    );
  });

  test('every child job starts on the 4 MiB grid', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const jobs = planned(given, byPolicy).childJobs;
        expect(jobs.filter((job) => job.offset % CHUNK_BYTES !== 0)).toEqual([]);
      }),
    );
  });

  test('the child jobs of a disk are balanced: none is further from the fair share than one bucket holds', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const result = planned(given, byPolicy);
        for (const disk of result.disks) {
          const source = given.find(({ diskId }) => diskId === disk.diskId) as InspectedDisk;
          const density =
            disk.kind === 'incremental' && source.tracking.state === 'usable'
              ? source.tracking.changed
              : source.allocated;
          const largest = Math.max(0, ...density.buckets);
          const fair = disk.bytesToRead / disk.childJobs;
          const tooFar = jobsOf(result.childJobs, disk.diskId).filter(
            (job) => Math.abs(job.estimatedBytes - fair) > largest + 1,
          );
          expect(tooFar).toEqual([]);
        }
      }),
    );
  });

  test('there are never fewer child jobs than the total needs', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const { arithmetic } = planned(given, byPolicy);
        expect(arithmetic.childJobs).toBeGreaterThanOrEqual(
          Math.ceil(arithmetic.totalBytes / arithmetic.childJobBytes),
        );
      }),
    );
  });

  test('the waves are enough for every child job, and one fewer would not be', () => {
    fc.assert(
      fc.property(disks, policy, activeProxies, (given, byPolicy, active) => {
        const result = planned(given, byPolicy, active);
        const atATime =
          result.mode === 'proxy-vm'
            ? result.proxies * result.arithmetic.capacityPerProxy
            : byPolicy.maxDirectStreams;
        expect(atATime * result.waves).toBeGreaterThanOrEqual(result.childJobs.length);
        expect(atATime * (result.waves - 1)).toBeLessThan(result.childJobs.length);
        expect(result.expectedShared).toBeLessThanOrEqual(Math.min(result.proxies, active.length));
      }),
    );
  });

  test('more bytes to read never mean fewer proxies', () => {
    fc.assert(
      fc.property(disks, policy, fc.double({ min: 0, max: 1, noNaN: true }), (given, byPolicy, part) => {
        const forced = { ...byPolicy, mode: 'proxy-vm' as const };
        const less = given.map((disk) => ({
          ...disk,
          tracking: { state: 'unusable' as const, code: 'NoParent' as const, reason: 'first backup' },
          allocated: { ...disk.allocated, buckets: disk.allocated.buckets.map((b) => Math.floor(b * part)) },
        }));
        const more = given.map((disk, i) => ({ ...disk, tracking: (less[i] as InspectedDisk).tracking }));
        const [few, many] = [planned(less, forced), planned(more, forced)];
        expect(many.proxiesCalculated).toBeGreaterThanOrEqual(few.proxiesCalculated);
        expect(many.proxies).toBeGreaterThanOrEqual(few.proxies);
      }),
    );
  });

  test('the same input gives the same plan', () => {
    fc.assert(
      fc.property(disks, policy, activeProxies, (given, byPolicy, active) => {
        expect(planned(structuredClone(given), structuredClone(byPolicy), structuredClone(active))).toEqual(
          planned(given, byPolicy, active),
        );
      }),
    );
  });
});
