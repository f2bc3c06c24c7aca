import type { Recorded } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { explain } from './explain.ts';
import { backupIdOf, backupStory, recorded, teller } from './testing/story.ts';

const story = recorded(backupStory({ name: 'b1', interrupted: true, fallback: true, shared: false }));
const id = backupIdOf('b1');

describe('the explanation of a backup', () => {
  const explanation = explain(id, story);

  test('says why this mode, and redoes the arithmetic of the quantity', () => {
    expect(explanation?.mode).toEqual({ mode: 'proxy-vm', reason: 'the full is above its threshold' });
    expect(explanation?.plan.join('\n')).toMatch(/ceil\(4 \/ 1\) = 4; used: 2/);
  });

  test('says which proxies and why each, with what became of them', () => {
    expect(explanation?.proxies).toEqual([
      expect.objectContaining({
        proxyId: 'b1-p1',
        shared: false,
        reason: 'no active proxy has a free port',
        ports: 1,
        leases: 1,
        outcome: 'lost: its process ended with signal 9',
      }),
      expect.objectContaining({ proxyId: 'b1-p2', leases: 4, outcome: 'stopped: idle for 60 seconds' }),
    ]);
    expect(explanation?.shortfall).toBe('the host allows 2');
  });

  test('counts the child jobs and proxies of every wave', () => {
    expect(explanation?.waves).toEqual([
      { wave: 1, childJobs: 2, proxies: 2 },
      { wave: 2, childJobs: 2, proxies: 1 },
    ]);
  });

  test('names fallbacks, losses and retries with the real error', () => {
    expect(explanation?.fallbacks).toEqual([
      { subject: 'Disk vdb, full at the snapshot', reason: 'the bitmap is inconsistent' },
    ]);
    expect(explanation?.losses).toEqual([
      { subject: 'Proxy b1-p1', reason: 'its process ended with signal 9' },
    ]);
    expect(explanation?.retries).toEqual([
      expect.objectContaining({
        attempt: 1,
        proxyId: 'b1-p1',
        reason: expect.stringMatching(/connection reset/),
      }),
    ]);
  });

  test('is the same with and without its chunks', () => {
    expect(
      explain(
        id,
        story.filter((event) => event.type !== 'ChunkReceived'),
      ),
    ).toEqual(explanation);
  });

  test('ends in one sentence about the outcome', () => {
    expect(explanation?.lines.at(-1)).toMatch(/^Completed: 64 MiB read of 64 MiB, 16 chunks, 16 of them new/);
  });
});

test('where guests run, the point in time says how consistent it is, why, and how long the guest stood still', () => {
  const consistency = { level: 'crash', reason: 'the guest agent did not answer' } as const;
  const frozen = story.map((event) =>
    event.type === 'SnapshotTaken' ? { ...event, data: { ...event.data, consistency } } : event,
  ) as Recorded[];
  expect(explain(id, frozen)?.lines.join('\n')).toMatch(
    /Point in time .*, crash-consistent, because: the guest agent did not answer; the guest stood still for 9 ms\./,
  );
  expect(explain(id, story)?.lines.join('\n')).not.toMatch(/Point in time/);
});

test('a backup that was refused before it was planned says so, with the way out', () => {
  const tell = teller('x');
  tell.append('backup', 'x', 'BackupRefused', {
    backupId: 'x',
    origin: { via: 'http', requestId: 'r', requestedBy: 'anna' },
    refusal: { code: 'UnknownHost', message: 'There is no host mars.', wayOut: 'Known hosts: lab.' },
    request: '{"host":"mars","vm":"web-1"}',
    refusedAt: '2026-01-01T00:00:00.000Z',
  });
  expect(explain('x', recorded(tell.told))?.lines).toEqual([
    'Asked for over http by anna as request r: VM web-1 on host mars, kind (unread), mode (unread), policy (unread).',
    'Refused: There is no host mars. Known hosts: lab.',
  ]);
});

test('a backup that runs still is explained as far as it has come', () => {
  const until = story.slice(0, story.findIndex((event) => event.type === 'ProxiesCalculated') + 1);
  expect(explain(id, until)).toMatchObject({ state: 'planned', proxies: [], waves: [], outcome: 'Planned.' });
});

test('events of no backup explain nothing', () => {
  expect(explain('nobody', story as Recorded[])).toBeUndefined();
});
