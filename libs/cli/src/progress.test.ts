import type { consoleApi, EventData, EventType } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { noProgress, progressAfter } from './progress.ts';

const told = <T extends EventType>(type: T, data: EventData<T>) =>
  ({ type, data, schemaVersion: 1 }) as unknown as consoleApi.RecordedEvent;
const ids = { backupId: '6751deb7-7226-5fc4-be4f-946b1f986b95', hostId: 'lab', vmId: 'web-1' };
const chunk = told('ChunkReceived', {
  ...ids,
  childJobId: 'j',
  diskId: 'vda',
  leaseId: 'l',
  offset: 0,
  length: 4096,
  digest: null,
  readBytes: 1000,
  storedBytes: 0,
});

test('progress is what was read from the source, not what the disk holds', () => {
  expect([chunk, chunk].reduce(progressAfter, noProgress).readBytes).toBe(2000);
});

test('a refusal is an end, with its reason', () => {
  const refusal = { code: 'NoVm', message: 'There is no VM web-1.' };
  const { end } = progressAfter(noProgress, told('PlanRefused', { ...ids, refusal }));
  expect(end).toEqual({ outcome: 'refused', refusal });
});

test('an event of a newer release changes nothing', () => {
  expect(progressAfter(noProgress, { ...chunk, type: 'DiskFrozen' })).toBe(noProgress);
  expect(progressAfter(noProgress, { ...chunk, data: { readBytes: 'many' } })).toBe(noProgress);
});
