import { eventually, Fault } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { patienceOf } from './patience.fixture.ts';

const full = () => new Fault('no room', { code: 'RepositoryFull' });
const never = new AbortController().signal;

test('work is tried again while the repository is at fault, and its reason can be asked for meanwhile', async () => {
  const patience = patienceOf(60);
  const reasons: (string | undefined)[] = [];
  const work = async (): Promise<string> => {
    reasons.push(patience.reason);
    if (reasons.length < 4) throw full();
    return 'done';
  };
  expect(await patience.through({ what: 'work', work }, never)).toBe('done');
  expect(reasons).toEqual([undefined, 'no room', 'no room', 'no room']);
  expect(patience.reason).toBeUndefined();
});

test('what is no fault of the repository, or is damage, is thrown at once', async () => {
  for (const error of [
    new Fault('the port has gone', { code: 'ECONNRESET' }),
    new Fault('it is damaged', { code: 'RepositoryFailing', permanent: true }),
  ]) {
    let tries = 0;
    const work = async (): Promise<void> => {
      tries += 1;
      throw error;
    };
    await expect(patienceOf(60).through({ what: 'work', work }, never)).rejects.toBe(error);
    expect(tries).toBe(1);
  }
});

test('patience ends when nothing went on for so long, and not before', async () => {
  let at = 0;
  let lastProgress = 0;
  const work = async (): Promise<void> => {
    if (at < 5) {
      at += 1;
      lastProgress = Date.now();
    }
    throw full();
  };
  const waiting = patienceOf(0.25).through({ what: 'work', progress: () => at, work }, never);
  await expect(waiting).rejects.toMatchObject({ permanent: true, code: 'RepositoryFull' });
  expect(at).toBe(5);
  // Timers may be a moment early.
  expect(Date.now() - lastProgress).toBeGreaterThan(240);
});

test('a wait ends with its signal', async () => {
  const stop = new AbortController();
  const patience = patienceOf(60);
  const work = async (): Promise<void> => {
    throw full();
  };
  const waiting = patience.through({ what: 'work', work }, stop.signal);
  const ended = expect(waiting).rejects.toThrow();
  await eventually('the wait', 10_000, () => patience.reason);
  stop.abort();
  await ended;
  expect(patience.reason).toBeUndefined();
});
