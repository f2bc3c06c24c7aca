import { Fault } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { causesOf, lineOf, refused } from './exit.ts';

const error = new Fault('Restoring disk vda failed', {
  cause: new Fault('Chunk abc cannot be read', {
    cause: Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }),
  }),
});

test('one line has the whole chain of causes: the real error is the last', () => {
  expect(lineOf(error)).toBe('Restoring disk vda failed: Chunk abc cannot be read: EIO: i/o error');
  expect(lineOf(new Error('two\n  lines'))).toBe('two lines');
});

test('--verbose has each cause on a line of its own, with its code', () => {
  expect(causesOf(error)).toEqual([
    expect.stringMatching(/^ {2}because: Chunk abc cannot be read \(/),
    expect.stringMatching(/^ {2}because: EIO: i\/o error \[EIO\]/),
  ]);
});

test('a refusal ends with its way out, and a code of its own', () => {
  expect(refused({ code: 'X', message: 'No.', wayOut: 'Do Y.' })).toMatchObject({
    exitCode: 3,
    message: 'No. Do Y.',
  });
});
