import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type StatusExtent, StatusWalk } from './status-walk.ts';
import type { StatusRun } from './transactions.ts';

/** Walks a disk whose flags are known byte by byte, with a server that answers as `answerOf` says. */
function walkAll(
  walk: StatusWalk,
  answerOf: (offset: number, length: number) => readonly StatusRun[],
): StatusExtent[] {
  const extents: StatusExtent[] = [];
  for (let question = walk.question; question !== undefined; question = walk.question)
    extents.push(...walk.answer(question, answerOf(question.offset, question.length)));
  return extents;
}

const ALIGNMENT = 4;
const disk = fc.array(fc.nat(2), { minLength: ALIGNMENT, maxLength: 64 });

test('whatever a server answers, shorter or longer than asked, in runs cut anywhere, the extents are the disk', () => {
  fc.assert(
    fc.property(disk, fc.nat(), fc.nat(), fc.infiniteStream(fc.nat(9)), (flags, a, b, dice) => {
      const roll = (): number => dice.next().value as number;
      const offset = a % flags.length;
      const length = b % (flags.length - offset + 1);
      const extents = walkAll(new StatusWalk(offset, length, 1, flags.length), (at) => {
        const runs: StatusRun[] = [];
        // At least one run, of at least one byte; each no longer than the flags are the same, and often shorter.
        for (let more = 1 + (roll() % 4); more > 0 && at < flags.length; more -= 1) {
          let size = 1;
          for (let wish = roll(); wish > 0 && flags[at + size] === flags[at]; wish -= 1) size += 1;
          runs.push({ length: size, flags: flags[at] as number });
          at += size;
        }
        return runs;
      });
      const expected: StatusExtent[] = [];
      for (let at = offset; at < offset + length; at += 1) {
        const last = expected.at(-1);
        if (last !== undefined && last.flags === flags[at])
          expected[expected.length - 1] = { ...last, length: last.length + 1 };
        else expected.push({ offset: at, length: 1, flags: flags[at] as number });
      }
      expect(extents).toEqual(expected);
    }),
    { numRuns: 500 },
  );
});

test('questions keep to the blocks of the server and the end of the export, and never wrap at 32 bits', () => {
  const asked: { offset: number; length: number }[] = [];
  const size = 5 * 2 ** 40 + 4096;
  const extents = walkAll(new StatusWalk(4097, size - 4098, 4096, size), (offset, length) => {
    asked.push({ offset, length });
    return [{ length, flags: 3 }];
  });
  expect(extents).toEqual([{ offset: 4097, length: size - 4098, flags: 3 }]);
  for (const { offset, length } of asked) {
    expect(offset % 4096).toBe(0);
    expect(length % 4096).toBe(0);
    expect(length).toBeLessThan(2 ** 31);
    expect(offset + length).toBeLessThanOrEqual(size);
  }
});

test('an answer inside of a block is gone on with from the start of that block', () => {
  const offsets: number[] = [];
  const extents = walkAll(new StatusWalk(0, 16, ALIGNMENT, 16), (offset, length) => {
    offsets.push(offset);
    return [{ length: Math.min(length, 6), flags: offset === 0 ? 1 : 2 }];
  });
  expect(offsets).toEqual([0, 4, 8, 12]);
  expect(extents).toEqual([
    { offset: 0, length: 6, flags: 1 },
    { offset: 6, length: 10, flags: 2 },
  ]);
});

test('an answer that says nothing new is a permanent fault, not a loop', () => {
  const walk = new StatusWalk(2, 10, ALIGNMENT, 16);
  const question = walk.question;
  if (question === undefined) throw new Error('There is something to ask');
  expect(() => [...walk.answer(question, [{ length: 2, flags: 0 }])]).toThrow(/says nothing of the bytes/);
  expect(() => [...walk.answer(question, [])]).toThrow(/says nothing of the bytes/);
});
