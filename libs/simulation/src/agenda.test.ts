import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Agenda } from './agenda.ts';

test('what is earlier comes first, and of what is at once what was added first', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (instants) => {
      const agenda = new Agenda<number>();
      for (const [index, at] of instants.entries()) agenda.add(at, index);
      const taken = instants.map(() => agenda.take(20));
      const expected = [...instants.entries()].sort(([, a], [, b]) => a - b).map(([index]) => index);
      expect(taken).toEqual(expected);
      expect(agenda.next).toBeUndefined();
    }),
  );
});

test('what is not due yet is not taken', () => {
  const agenda = new Agenda<string>();
  agenda.add(5, 'later');
  expect(agenda.take(4)).toBeUndefined();
  expect(agenda.take(5)).toBe('later');
});
