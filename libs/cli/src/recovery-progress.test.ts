import type { consoleApi, EventData, EventType } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { noRecoveryProgress, recoveryProgressAfter } from './recovery-progress.ts';

const told = <T extends EventType>(type: T, data: EventData<T>) =>
  ({ type, data, schemaVersion: 1 }) as unknown as consoleApi.RecordedEvent;
const ids = { recoveryId: '6751deb7-7226-5fc4-be4f-946b1f986b95', hostId: 'lab', vmId: 'web-2' };
const refusal = { code: 'ChunkDamaged', message: 'Disk vda at 4194304: chunk abab is damaged.' };
const totals = { diskBytes: 8192, writtenBytes: 4096, zeroBytes: 4096, verifiedBytes: 4096, chunks: 1 };

test('progress is what was written and flushed', () => {
  const chunk = told('ChunkExported', {
    ...ids,
    childJobId: 'j',
    diskId: 'vda',
    leaseId: 'l',
    offset: 0,
    length: 4096,
    digest: 'ab'.repeat(32),
  });
  expect([chunk, chunk].reduce(recoveryProgressAfter, noRecoveryProgress).writtenBytes).toBe(8192);
});

test('no more data streams are done than there are, also where one says so twice', () => {
  const done = told('ExportJobCompleted', {
    ...ids,
    ...{ childJobId: 'j', diskId: 'vda', leaseId: 'l', fence: 1, attempt: 1, proxyId: 'p', chunks: 1 },
    ...{ writtenBytes: 1, resumedBytes: 0, zeroBytes: 0, verifiedBytes: 1, milliseconds: 1 },
    completedAt: '2026-01-01T00:00:00.000Z',
  });
  const planned = { ...noRecoveryProgress, streams: 2 };
  expect([done, done, done].reduce(recoveryProgressAfter, planned).streamsDone).toBe(2);
});

test('all written is no end yet: the VM is to be made of it', () => {
  const exportedAt = '2026-01-01T00:00:00.000Z';
  const progress = recoveryProgressAfter(
    noRecoveryProgress,
    told('DataExported', { ...ids, totals, exportedAt }),
  );
  expect(progress).toMatchObject({ phase: 'making the VM', end: undefined });
  const completed = recoveryProgressAfter(
    progress,
    told('RecoveryCompleted', {
      ...ids,
      backupId: ids.recoveryId,
      mode: 'proxy-vm',
      totals,
      started: false,
      notStarted: 'no kernel',
      completedAt: exportedAt,
    }),
  );
  expect(completed.end).toEqual({ outcome: 'completed', totals, started: false, notStarted: 'no kernel' });
});

test('what the VM was started with is known from its keeping', () => {
  const acceleration = { accelerator: 'tcg', because: 'KVM cannot be used' } as const;
  const run = { hostId: 'lab', runId: ids.recoveryId, vmId: 'web-2' };
  const kept = told('TargetKept', { ...run, started: true, notStarted: null, acceleration });
  expect(recoveryProgressAfter(noRecoveryProgress, kept).acceleration).toEqual(acceleration);
});

test('a failure is an end, with its reason and the restore point that is whole', () => {
  const alternative = { backupId: ids.recoveryId, takenAt: '2026-01-01T00:00:00.000Z' };
  const { end } = recoveryProgressAfter(
    noRecoveryProgress,
    told('RecoveryFailed', { ...ids, refusal, alternative, failedAt: alternative.takenAt }),
  );
  expect(end).toEqual({ outcome: 'failed', refusal, alternative });
});
