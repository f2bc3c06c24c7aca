import type { BackhaulClient } from '@backhaul/client';
import { Fault, ok, refuse } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import type { CommandContext } from '../command.ts';
import { CommandFailure } from '../exit.ts';
import { order } from './orders.ts';

const backupId = '11111111-0000-4000-8000-000000000001';
const never = new AbortController().signal;

/** A console that answers with these rows, one after the other, and a trigger that takes every order or refuses it. */
function context(
  rows: readonly object[],
  { signal = never, refusal }: { signal?: AbortSignal; refusal?: { code: string; message: string } } = {},
) {
  const said: string[] = [];
  const ordered: unknown[][] = [];
  const left = [...rows];
  const attachments = [1, 0];
  const client = {
    run: async () => {
      const row = left.length > 1 ? left.shift() : left[0];
      if (row instanceof Error) throw row;
      return { purpose: 'backup', backup: { backupId, endedAt: null, closedAt: null, ...row } };
    },
    order: async (...asked: unknown[]) => {
      ordered.push(asked);
      return refusal === undefined ? ok({ requestId: 'r', outcome: 'accepted' }) : refuse(refusal);
    },
    all: async function* () {
      if ((attachments.shift() ?? 0) > 0) yield { kind: 'attachment' };
    },
  } as unknown as BackhaulClient;
  const of = {
    locations: { requester: async () => client },
    terminal: { out: (line: string) => said.push(line), note: () => undefined, isWatched: false },
    environment: { USER: 'anna' },
    signal,
  } as unknown as CommandContext;
  return { of, said, ordered };
}

test('an order is given with who gave it and why, and told as taken', async () => {
  const { of, said, ordered } = context([{ state: 'transferring' }]);
  await order('pause', '1111', { reason: 'the host is busy', requestId: 'mine' }, of);
  expect(ordered).toEqual([
    ['pause', 'backup', backupId, { requestId: 'mine', requestedBy: 'cli anna', reason: 'the host is busy' }],
  ]);
  expect(said).toEqual([
    'Backup 11111111 pauses: its ports and proxies go to others, its point in time stays. Follow it with: backhaul events 11111111',
  ]);
});

test('what cannot be done is refused with the reason, and another exit code than a failure', async () => {
  const refusal = { code: 'AlreadyEnded', message: 'It has completed.' };
  const { of } = context([{ state: 'completed' }], { refusal });
  await expect(order('cancel', '1111', {}, of)).rejects.toMatchObject({
    exitCode: 3,
    message: expect.stringContaining('It has completed.'),
  });
});

test('a pause is waited for until the run holds no proxy any more', async () => {
  const { of, said } = context([{ state: 'transferring' }, { state: 'transferring' }, { state: 'paused' }]);
  await order('pause', '1111', { wait: true }, of);
  expect(said).toEqual(['Backup 11111111 is paused, and holds no port and no proxy.']);
});

test('a cancellation is waited for until everything was given back', async () => {
  const ending = { state: 'cancelled', triggeredAt: 'then', endedAt: 'now' };
  const { of, said } = context([{ state: 'paused' }, ending, { ...ending, closedAt: 'now' }]);
  await order('cancel', '1111', { wait: true }, of);
  expect(said).toEqual(['Backup 11111111 is cancelled, and everything was given back.']);
});

test('one that completed in the same moment is told, and the command has failed', async () => {
  const row = { state: 'completed', triggeredAt: 'then', endedAt: 'now', closedAt: 'now' };
  await expect(order('cancel', '1111', { wait: true }, context([row]).of)).rejects.toThrow(
    'Backup 11111111 could not be cancelled any more: it is completed.',
  );
  await expect(order('pause', '1111', { wait: true }, context([row]).of)).rejects.toThrow(CommandFailure);
});

test('one that went on and has failed meanwhile is told, and the command has failed', async () => {
  const row = { state: 'failed', triggeredAt: 'then', endedAt: 'now', closedAt: 'now' };
  await expect(
    order('resume', '1111', { wait: true }, context([{ state: 'paused' }, row]).of),
  ).rejects.toThrow('Backup 11111111 went on, and is failed now. backhaul explain 11111111');
});

test('a console that is away for a moment ends no wait; one that says no ends it, and the order stands', async () => {
  const ending = { state: 'cancelled', triggeredAt: 'then', endedAt: 'now', closedAt: 'now' };
  const away = new Fault('The console answered 503');
  const { of, said } = context([{ state: 'transferring' }, away, away, ending]);
  await order('cancel', '1111', { wait: true }, of);
  expect(said).toEqual(['Backup 11111111 is cancelled, and everything was given back.']);

  const no = new Fault('The console wants another token', { permanent: true });
  await expect(
    order('cancel', '1111', { wait: true }, context([{ state: 'transferring' }, no]).of),
  ).rejects.toThrow(/another token\); Backup 11111111 is ordered to end, .* all the same/);
});

test('a wait that is broken off says that the order stands', async () => {
  const stop = AbortSignal.abort();
  const { of } = context([{ state: 'transferring' }], { signal: stop });
  await expect(order('cancel', '1111', { wait: true }, of)).rejects.toThrow(/all the same/);
});
