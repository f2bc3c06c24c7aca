import { expect, test } from 'vitest';
import { Failures } from './failures.ts';

test('what was nothing of its own counts as no failure of a message, and its first delivery here is kept', () => {
  const failures = new Failures(10);
  expect(failures.note('m', 3, false)).toEqual({ failures: 0, survivedFrom: 3 });
  expect(failures.note('m', 40, true)).toEqual({ failures: 1, survivedFrom: 3 });
  expect(failures.note('m', 41, true)).toEqual({ failures: 2, survivedFrom: 3 });
  expect(failures.note('other', 7, true)).toEqual({ failures: 1, survivedFrom: 7 });
  failures.forget('m');
  expect(failures.note('m', 42, true)).toEqual({ failures: 1, survivedFrom: 42 });
});

test('a copy that is sent again has all its failures before it', () => {
  const failures = new Failures(10);
  for (let delivery = 1; delivery <= 12; delivery += 1) failures.note('m', delivery, true);
  expect(failures.note('m', 1, true)).toEqual({ failures: 1, survivedFrom: 1 });
  expect(failures.note('m', 2, true)).toEqual({ failures: 2, survivedFrom: 1 });
});

test('no more is remembered than can be out at a time, and of those that still fail nothing is lost', () => {
  const failures = new Failures(3);
  for (let round = 1; round <= 5; round += 1) {
    failures.note('still failing', round, true);
    failures.note(`settled elsewhere ${round}`, 1, true);
  }
  expect(failures.note('still failing', 6, true)).toEqual({ failures: 6, survivedFrom: 1 });
  expect(failures.note('settled elsewhere 1', 2, true)).toEqual({ failures: 1, survivedFrom: 2 });
});
