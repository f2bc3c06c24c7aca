import { type BackhaulClient, ProblemFault } from '@backhaul/client';
import type { consoleApi } from '@backhaul/contracts';
import { ok } from '@backhaul/kernel';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { CommandContext } from '../command.ts';
import { backup } from './backup.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const backupId = '11111111-0000-4000-8000-000000000001';
const totals = { diskBytes: 9, readBytes: 8, storedBytes: 7, zeroBytes: 1, chunks: 3, newChunks: 2 };
const completed = {
  type: 'BackupCompleted',
  schemaVersion: 1,
  data: {
    ...{ backupId, hostId: 'lab', vmId: 'web-1', kind: 'full', mode: 'proxy-vm', totals },
    restorePoint: {
      backupId,
      manifestDigest: 'ab'.repeat(32),
      takenAt: '2026-01-01T00:00:00.000Z',
      disks: [],
    },
    completedAt: '2026-01-01T00:00:00.000Z',
  },
} as unknown as consoleApi.RecordedEvent;

/** A deployment whose live stream tells of the end, and whose tables answer with `row`. */
function context(row: () => Promise<object>) {
  const [said, noted] = [[] as string[], [] as string[]];
  const client = {
    requestBackup: async () => ok({ requestId: 'r', outcome: 'accepted', backupId }),
    follow: async function* () {
      yield completed;
    },
    backup: row,
  } as unknown as BackhaulClient;
  const of = {
    locations: { requester: async () => client },
    terminal: {
      out: (line: string) => said.push(line),
      note: (line: string) => noted.push(line),
      isWatched: false,
    },
    environment: {},
    signal: new AbortController().signal,
  } as unknown as CommandContext;
  return { of, said, noted };
}

const made = async (of: CommandContext): Promise<void> => {
  const done = backup('web-1', { host: 'lab', wait: true, json: true }, of);
  done.catch(() => undefined);
  await vi.advanceTimersByTimeAsync(20_000);
  await done;
};

test.each([
  ['are behind', async () => ({ backupId, state: 'transferring', endedAt: null })],
  [
    'do not know it',
    async () => {
      throw new ProblemFault({ type: '', title: '', status: 404, code: 'NotFound', detail: 'None.' });
    },
  ],
])(
  'a backup that completed is told as completed, also while the tables of the console %s',
  async (_, row) => {
    const { of, said, noted } = context(row);
    await made(of);
    expect(said.map((line) => JSON.parse(line))).toEqual([
      { backupId, state: 'completed', ...totals, refusal: null },
    ]);
    expect(noted).toEqual([expect.stringContaining('are behind')]);
  },
);

test('where they know it, it is the row', async () => {
  const row = { backupId, state: 'completed', endedAt: 'now', kind: 'full' };
  const { of, said, noted } = context(async () => row);
  await made(of);
  expect([said.map((line) => JSON.parse(line)), noted]).toEqual([[row], []]);
});
