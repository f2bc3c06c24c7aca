import type { Event } from '@backhaul/contracts';
import { MiB, totalLength } from '@backhaul/kernel';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  chunkExported,
  completed,
  completedAgain,
  evolve,
  exportedOf,
  interrupted,
  type Lease,
  newExportJob,
  start,
} from './export-job.ts';
import { AT, leaseOf, recoveryPlan } from './recovery.fixture.ts';

const CHUNK = 4 * MiB;
const CHUNKS = 8;
const plan = recoveryPlan(
  '5a6a3f0e-3c39-5c0c-8a53-0d0ef8f5a001',
  {
    backupId: '5a6a3f0e-3c39-5c0c-8a53-0d0ef8f5a002',
    manifestDigest: 'a'.repeat(64),
    sizeBytes: CHUNKS * CHUNK,
  },
  [{ offset: 0, length: CHUNKS * CHUNK }],
);
const lease = (fence: number): Lease => leaseOf(plan, 0, fence, ['nbd+unix:///vda?socket=/s']);
const piece = (slot: number) => ({ offset: slot * CHUNK, length: CHUNK, digest: 'b'.repeat(64) });
const started = (fence: number): Event => {
  const begun = start(newExportJob(), lease(fence), AT);
  if (!begun.ok) throw new Error(begun.refusal.message);
  return begun.value;
};
const exported = (slot: number, fence = 1): Event => chunkExported(lease(fence), piece(slot));
const attempt = {
  writtenBytes: CHUNK,
  resumedBytes: 0,
  zeroBytes: 7 * CHUNK,
  verifiedBytes: CHUNK,
  milliseconds: 5,
  at: AT,
};

/** Given what was said, when a lease comes: the event that starts it, or why not. */
const given = (...events: readonly Event[]) => {
  const job = events.reduce(evolve, newExportJob());
  return { job, when: (fence: number) => start(job, lease(fence), AT) };
};

describe('starting an attempt', () => {
  test('a lease that was given up before it began has nothing to do when its message is sent again', () => {
    const { when } = given(interrupted(lease(1), 'The log was away.', true));
    expect(when(1)).toMatchObject({ ok: false, refusal: { code: 'Superseded' } });
    expect(when(2).ok).toBe(true);
  });

  test('a second attempt says what the first had confirmed', () => {
    const { job, when } = given(started(1), exported(0), exported(1), exported(3));
    const second = when(2);
    expect(second.ok && second.value.data).toMatchObject({ resumedBytes: 3 * CHUNK, ports: [0], fence: 2 });
    expect(exportedOf(job)).toEqual([
      { offset: 0, length: 2 * CHUNK },
      { offset: 3 * CHUNK, length: CHUNK },
    ]);
  });

  test('a lease older than the attempt under way is superseded; the same lease again goes on', () => {
    const { when } = given(started(5));
    expect(when(4)).toMatchObject({ ok: false, refusal: { code: 'Superseded' } });
    expect(when(5).ok).toBe(true);
  });

  test('a lease whose attempt was interrupted does not start again: its ports are given back', () => {
    const { when } = given(started(5), interrupted(lease(5), 'the write failed', true));
    expect(when(5)).toMatchObject({ ok: false, refusal: { code: 'Superseded' } });
    expect(when(6).ok).toBe(true);
  });

  test('what is completed is completed, and says the same again for a newer lease', () => {
    const done = completed(given(started(1), exported(0)).job, lease(1), attempt);
    const { job, when } = given(started(1), exported(0), done);
    expect(when(2)).toMatchObject({ ok: false, refusal: { code: 'Completed' } });
    expect(completedAgain(job, lease(2), AT).data).toMatchObject({
      ...{ leaseId: 'lease-2', writtenBytes: 0, resumedBytes: CHUNK, zeroBytes: 7 * CHUNK },
      ...{ verifiedBytes: CHUNK, chunks: 1 },
    });
  });
});

test('however attempts are cut short and leases come late, no chunk is confirmed twice, and every byte is counted once', () => {
  const run = fc.record({
    fence: fc.integer({ min: 1, max: 12 }),
    chunks: fc.nat({ max: 4 }),
    ends: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 12 }), (runs) => {
      const job = newExportJob();
      const confirmed: number[] = [];
      let newest = 0;
      for (const { fence, chunks, ends } of runs) {
        const begun = start(job, lease(fence), AT);
        if (!begun.ok) continue;
        expect(fence).toBeGreaterThanOrEqual(newest);
        expect(job.state).not.toBe('completed');
        expect(begun.value.data.resumedBytes).toBe(confirmed.length * CHUNK);
        newest = fence;
        evolve(job, begun.value);
        const left = Array.from({ length: CHUNKS }, (_, slot) => slot).filter(
          (slot) =>
            !exportedOf(job).some(
              ({ offset, length }) => slot * CHUNK >= offset && slot * CHUNK < offset + length,
            ),
        );
        // From the end, so that they are confirmed out of order.
        const now = left.slice(left.length - Math.min(chunks, left.length));
        for (const slot of now) evolve(job, exported(slot, fence));
        confirmed.push(...now);
        if (now.length === left.length) evolve(job, completed(job, lease(fence), attempt));
        else if (ends) evolve(job, interrupted(lease(fence), 'why', true));
      }
      expect(new Set(confirmed).size).toBe(confirmed.length);
      expect(job.chunks).toBe(confirmed.length);
      expect(totalLength(exportedOf(job))).toBe(confirmed.length * CHUNK);
      expect(job.state === 'completed').toBe(confirmed.length === CHUNKS);
    }),
  );
});
