import { CHUNK_BYTES, Policy, type RecoveryPlan } from '@backhaul/contracts';
import { extentEnd } from '@backhaul/kernel';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { anySize, densityOf } from './densities.fixture.ts';
import { planRecovery } from './plan-recovery.ts';
import { type DiskOfRestorePoint, recoveryAsked, recoveryInspectionOf } from './recoveries.fixture.ts';

const anyDisk = (diskId: string): fc.Arbitrary<DiskOfRestorePoint> =>
  anySize.chain(({ sizeBytes, bucketBytes }) =>
    densityOf(sizeBytes, bucketBytes).map((data) => ({ diskId, sizeBytes, data })),
  );

const disks = fc
  .integer({ min: 1, max: 5 })
  .chain((n) => fc.tuple(...Array.from({ length: n }, (_, i) => anyDisk(`vd${i}`))));

const policy = fc
  .record({
    maxStreamsPerDisk: fc.integer({ min: 1, max: 40 }),
    portsPerStream: fc.integer({ min: 1, max: 4 }),
    maxPortsPerProxy: fc.integer({ min: 4, max: 32 }),
    maxChildJobsPerProxy: fc.integer({ min: 1, max: 25 }),
    maxProxiesPerHost: fc.integer({ min: 1, max: 40 }),
    maxDirectStreams: fc.integer({ min: 1, max: 8 }),
    mode: fc.constantFrom('auto' as const, 'proxy-vm' as const, 'direct-to-host' as const),
  })
  .map((fields) => Policy.parse(fields));

const activeProxies = fc
  .integer({ min: 0, max: 10 })
  .map((n) => Array.from({ length: n }, (_, i) => ({ proxyId: `p${i}`, ports: 4 })));

function planned(
  given: readonly DiskOfRestorePoint[],
  byPolicy: Policy,
  active: { proxyId: string; ports: number }[] = [],
): RecoveryPlan {
  const asked = recoveryAsked({ policy: byPolicy });
  const result = planRecovery(asked, recoveryInspectionOf([...given]), { activeProxies: active });
  if (!result.ok) throw new Error(result.refusal.message);
  return result.value;
}

const streamsOf = ({ childJobs }: RecoveryPlan, diskId: string) =>
  childJobs.filter((job) => job.diskId === diskId);

describe('whatever the restore point and the policy', () => {
  test('the streams of a disk cover it exactly once, in order, on the grid, and their bytes add up', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const plan = planned(given, byPolicy);
        expect(plan.disks.map(({ diskId }) => diskId)).toEqual(given.map(({ diskId }) => diskId));
        for (const disk of plan.disks) {
          const streams = streamsOf(plan, disk.diskId);
          expect(streams).toHaveLength(disk.streams);
          expect(streams.map(({ offset }) => offset)).toEqual([0, ...streams.map(extentEnd)].slice(0, -1));
          expect(streams.map(extentEnd).at(-1)).toBe(disk.sizeBytes);
          expect(streams.filter(({ offset }) => offset % CHUNK_BYTES !== 0)).toEqual([]);
          if (disk.sizeBytes > 0) expect(streams.filter(({ length }) => length === 0)).toEqual([]);
          expect(streams.reduce((sum, { estimatedBytes }) => sum + estimatedBytes, 0)).toBe(
            disk.bytesToWrite,
          );
        }
      }),
    );
  });

  test('a disk has at least one stream, at most those the policy allows, and all of them when it has the data', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        for (const { streams, bytesToWrite } of planned(given, byPolicy).disks) {
          expect(streams).toBeGreaterThanOrEqual(1);
          expect(streams).toBeLessThanOrEqual(byPolicy.maxStreamsPerDisk);
          if (bytesToWrite >= byPolicy.maxStreamsPerDisk * CHUNK_BYTES) {
            expect(streams).toBe(byPolicy.maxStreamsPerDisk);
          }
        }
      }),
    );
  });

  test('the streams of a disk are balanced: none is further from the fair share than one bucket holds', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const plan = planned(given, byPolicy);
        for (const [index, disk] of plan.disks.entries()) {
          const largest = Math.max(0, ...(given[index]?.data.buckets ?? []));
          const fair = disk.bytesToWrite / disk.streams;
          const tooFar = streamsOf(plan, disk.diskId).filter(
            ({ estimatedBytes }) => Math.abs(estimatedBytes - fair) > largest + 1,
          );
          expect(tooFar).toEqual([]);
        }
      }),
    );
  });

  test('the second quantity is that of the formula, and more only where a proxy cannot be filled', () => {
    fc.assert(
      fc.property(disks, policy, (given, byPolicy) => {
        const { proxiesCalculated, limitedBy } = planned(given, { ...byPolicy, mode: 'proxy-vm' });
        const { maxStreamsPerDisk, portsPerStream, maxPortsPerProxy, maxChildJobsPerProxy } = byPolicy;
        const streams = given.length * maxStreamsPerDisk;
        const byPorts = Math.ceil((streams * portsPerStream) / maxPortsPerProxy);
        const filled = Math.min(maxChildJobsPerProxy, Math.trunc(maxPortsPerProxy / portsPerStream));
        // The fewest proxies whose places are enough for all streams at once.
        expect(proxiesCalculated * filled).toBeGreaterThanOrEqual(streams);
        expect((proxiesCalculated - 1) * filled).toBeLessThan(streams);
        expect(proxiesCalculated).toBeGreaterThanOrEqual(byPorts);
        if (filled * portsPerStream === maxPortsPerProxy) expect(proxiesCalculated).toBe(byPorts);
        const said = limitedBy.some(
          ({ limit }) => limit === 'maxPortsPerProxy' || limit === 'maxChildJobsPerProxy',
        );
        expect(said).toBe(proxiesCalculated > byPorts);
      }),
    );
  });

  test('no limit is passed, fewer proxies than calculated say why, and the waves are just enough', () => {
    fc.assert(
      fc.property(disks, policy, activeProxies, (given, byPolicy, active) => {
        const plan = planned(given, byPolicy, active);
        const { proxies, proxiesCalculated, childJobs, expectedShared, arithmetic, waves } = plan;
        expect(proxies).toBeLessThanOrEqual(
          Math.min(proxiesCalculated, childJobs.length, byPolicy.maxProxiesPerHost),
        );
        expect(expectedShared).toBeLessThanOrEqual(Math.min(proxies, active.length));
        const said = plan.limitedBy.some(
          ({ limit, effect }) =>
            ['childJobs', 'maxProxiesPerHost'].includes(limit) && effect.startsWith(`${proxies} of the `),
        );
        expect(said).toBe(proxies < proxiesCalculated);
        const atATime =
          plan.mode === 'proxy-vm' ? proxies * arithmetic.capacityPerProxy : byPolicy.maxDirectStreams;
        expect(atATime * waves).toBeGreaterThanOrEqual(childJobs.length);
        expect(atATime * (waves - 1)).toBeLessThan(childJobs.length);
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
