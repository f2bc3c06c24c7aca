import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Answers } from './answers.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const SECOND = 1_000;
const failing = (message: RegExp) => ({ code: 'RepositoryFailing', message: expect.stringMatching(message) });

/** A file system that can be made to hang: what was asked of it meanwhile is answered when it goes on. */
function hanging() {
  const answers = new Answers();
  const asked = { times: 0 };
  const goOn = Promise.withResolvers<void>();
  const hang = (what: string) =>
    answers.of(what, 10 * SECOND, () => {
      asked.times += 1;
      return goOn.promise;
    });
  const refused = async (what: string, message: RegExp): Promise<void> => {
    const asking = expect(hang(what)).rejects.toMatchObject(failing(message));
    await vi.advanceTimersByTimeAsync(10 * SECOND);
    await asking;
  };
  return { answers, asked, goOn, hang, refused };
}

test('a call that is overdue fails, and those that come after it fail at once, without being made', async () => {
  const { answers, asked, goOn, hang, refused } = hanging();
  await refused('Storing a', /Storing a has had no answer for 10 s/);
  await expect(hang('Storing b')).rejects.toMatchObject(failing(/Storing b was not tried.*Storing a/));
  expect(asked.times).toBe(1);
  goOn.resolve();
  await vi.advanceTimersByTimeAsync(0);
  expect(await answers.of('Storing c', SECOND, async () => 'stored')).toBe('stored');
});

test('it is tried again at intervals that double, and never by more calls than there are places', async () => {
  const { asked, hang, refused } = hanging();
  await refused('Storing a', /no answer/);
  const times: number[] = [];
  for (let second = 10; second < 24 * 3600; second += 10) {
    const before = asked.times;
    await refused('again', /again/);
    if (asked.times > before) times.push(second);
  }
  expect(times.slice(0, 5)).toEqual([20, 40, 80, 160, 320]);
  expect(asked.times).toBeLessThan(16);
  await expect(hang('the last')).rejects.toThrow(/was not tried/);
});

test('of many at once no more are made than there are places, and none waits for ever', async () => {
  const { asked, goOn, hang } = hanging();
  const ended = Promise.allSettled(Array.from({ length: 100 }, (_, n) => hang(`call ${n}`)));
  await vi.advanceTimersByTimeAsync(10 * SECOND);
  const reasons = (await ended).map((end) => end.status === 'rejected' && end.reason.code);
  expect([asked.times, new Set(reasons)]).toEqual([40, new Set(['RepositoryFailing'])]);
  goOn.resolve();
  await vi.advanceTimersByTimeAsync(0);
  await hang('well again');
});

test('a place that is answered goes to who waits for it', async () => {
  const { asked, goOn, hang } = hanging();
  const calls = Array.from({ length: 100 }, () => hang('call'));
  expect(asked.times).toBe(40);
  goOn.resolve();
  await Promise.all(calls);
  expect(asked.times).toBe(100);
});

test('a try that is answered means that what hangs before it is lost, and the file system is well', async () => {
  const { answers, refused } = hanging();
  await refused('lost', /no answer/);
  await vi.advanceTimersByTimeAsync(20 * SECOND);
  for (const n of [1, 2]) expect(await answers.of('after', SECOND, async () => n)).toBe(n);
});

test('what a call throws is thrown, and says nothing about the file system', async () => {
  const answers = new Answers();
  const failed = answers.of('a', SECOND, () => Promise.reject(new Error('EACCES')));
  await expect(failed).rejects.toThrow('EACCES');
  expect(await answers.of('b', SECOND, async () => 1)).toBe(1);
});
