import { describe, expect, test } from 'vitest';
import {
  chunkReceived,
  evolve,
  interrupted,
  type Lease,
  newChildJob,
  receivedOf,
  start,
} from './child-job.ts';

const MiB = 1024 ** 2;
const at = '2026-01-01T00:00:00.000Z';
const backupId = '5a6a3f0e-3c39-5c0c-8a53-0d0ef8f5a001';
const lease = (fence: number): Lease => ({
  purpose: 'backup',
  hostId: 'lab',
  runId: backupId,
  vmId: 'web',
  childJobId: `${backupId}.vda.0`,
  diskId: 'vda',
  offset: 0,
  length: 64 * MiB,
  leaseId: `lease-${fence}`,
  fence,
  attempt: fence,
  wave: 1,
  proxyId: 'p1',
  ports: [{ port: 0, uri: 'nbd+unix:///x?socket=/s' }],
  kind: 'full',
  diskBytes: 64 * MiB,
  extents: { uri: 'nbd+unix:///x?socket=/h', changedContext: null },
});
const full = { kind: 'full', kindReason: null, at } as const;
const piece = (slot: number) => ({
  offset: slot * 4 * MiB,
  length: 4 * MiB,
  digest: null,
  readBytes: 4 * MiB,
  storedBytes: 0,
});

describe('starting an attempt', () => {
  test('a second attempt says what the first had received', () => {
    const job = newChildJob();
    const first = start(job, lease(1), full);
    if (first.ok) evolve(job, first.value);
    for (const slot of [0, 1, 3]) evolve(job, chunkReceived(lease(1), piece(slot)));
    const second = start(job, lease(2), full);
    expect(second.ok && second.value.data.resumedBytes).toBe(12 * MiB);
    expect(receivedOf(job)).toEqual([
      { offset: 0, length: 8 * MiB },
      { offset: 12 * MiB, length: 4 * MiB },
    ]);
  });

  test('a lease older than the attempt under way is superseded; the same lease again goes on', () => {
    const job = newChildJob();
    const started = start(job, lease(5), full);
    if (started.ok) evolve(job, started.value);
    expect(start(job, lease(4), full)).toMatchObject({ ok: false, refusal: { code: 'Superseded' } });
    expect(start(job, lease(5), full).ok).toBe(true);
  });

  test('a lease whose attempt was interrupted does not start again: its ports are given back', () => {
    const job = newChildJob();
    const started = start(job, lease(5), full);
    if (started.ok) evolve(job, started.value);
    evolve(job, interrupted(lease(5), 'the read failed', true));
    expect(start(job, lease(5), full)).toMatchObject({ ok: false, refusal: { code: 'Superseded' } });
    expect(start(job, lease(6), full).ok).toBe(true);
  });

  test('what was received as an incremental is forgotten when the disk has to be read as a full', () => {
    const job = newChildJob();
    const started = start(job, lease(1), { kind: 'incremental', kindReason: null, at });
    if (started.ok) evolve(job, started.value);
    evolve(job, chunkReceived(lease(1), piece(0)));
    const again = start(job, lease(2), full);
    expect(again.ok && again.value.data.resumedBytes).toBe(0);
    if (again.ok) evolve(job, again.value);
    expect(receivedOf(job)).toEqual([]);
  });
});
