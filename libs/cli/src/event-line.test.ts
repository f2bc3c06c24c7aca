import { catalogue, type consoleApi, type EventData, type EventType } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { chunksLine, storyLine } from './event-line.ts';

const BACKUP = '6751deb7-7226-5fc4-be4f-946b1f986b95';
const FIRST_AT = '2026-01-01T00:00:00.000Z';
const ids = { backupId: BACKUP, hostId: 'lab', vmId: 'web-1', childJobId: `${BACKUP}.vda.3`, diskId: 'vda' };

function recorded<T extends EventType>(
  type: T,
  data: EventData<T>,
  recordedAt = FIRST_AT,
): consoleApi.RecordedEvent {
  return {
    type,
    data: data as Record<string, unknown>,
    recordedAt,
    eventId: 'e',
    position: 1,
    stream: `${catalogue[type].category}-x`,
    category: catalogue[type].category,
    version: 1,
    schemaVersion: 1,
    metadata: { correlation: BACKUP, causation: 'c', actor: 'a' },
  };
}

const chunk = (fields: Partial<EventData<'ChunkReceived'>>): consoleApi.RecordedEvent =>
  recorded('ChunkReceived', {
    ...ids,
    leaseId: 'l',
    offset: 0,
    length: 4 * 1024 * 1024,
    digest: 'ab'.repeat(32),
    readBytes: 4 * 1024 * 1024,
    storedBytes: 1024,
    ...fields,
  });

describe('a line of a story', () => {
  test('begins with the time since the first event, and names the event', () => {
    const event = recorded(
      'ProxyLost',
      { hostId: 'lab', proxyId: 'p2', reason: 'ended with signal 9' },
      '2026-01-01T00:00:12.345678Z',
    );
    expect(storyLine(event, FIRST_AT)).toBe(
      '   +12.345 s  ProxyLost                 p2: ended with signal 9',
    );
  });

  test('tells a refusal with its way out', () => {
    const event = recorded('PlanRefused', {
      backupId: BACKUP,
      hostId: 'lab',
      vmId: 'web-1',
      refusal: { code: 'NoVm', message: 'There is no VM web-1.', wayOut: 'There are: db-1.' },
    });
    expect(storyLine(event, FIRST_AT)).toMatch(/There is no VM web-1\. There are: db-1\.$/);
  });

  test('names a child job without the backup that the reader has named', () => {
    expect(storyLine(chunk({ digest: null, storedBytes: 0 }), FIRST_AT)).toMatch(
      / vda\.3 at 0: 4 MiB, zero$/,
    );
  });

  test('shows an event of a newer release as it is', () => {
    const event = { ...chunk({}), type: 'DiskFrozen', data: { diskId: 'vda' } };
    expect(storyLine(event, FIRST_AT)).toMatch(/DiskFrozen +{"diskId":"vda"}$/);
  });
});

test('a run of chunks that were written is one line, too', () => {
  const { childJobId, hostId, vmId, diskId } = ids;
  const written = recorded('ChunkExported', {
    recoveryId: BACKUP,
    hostId,
    vmId,
    diskId,
    childJobId,
    leaseId: 'l',
    offset: 0,
    length: 4 * 1024 * 1024,
    digest: 'ab'.repeat(32),
  });
  expect(chunksLine([written, written], FIRST_AT)).toBe(
    '    +0.000 s  ChunkExported             vda.3: 2 chunks, 8 MiB, written',
  );
});

test('a run of chunks is one line with its sums', () => {
  const run = [chunk({}), chunk({ digest: null, storedBytes: 0 }), chunk({ storedBytes: 0 })];
  expect(chunksLine(run, FIRST_AT)).toBe(
    '    +0.000 s  ChunkReceived             vda.3: 3 chunks, 12 MiB, 4 MiB of it zero, 1 KiB stored',
  );
  expect(chunksLine([chunk({ storedBytes: 0 })], FIRST_AT)).toMatch(/1 chunk, 4 MiB, nothing new$/);
});
