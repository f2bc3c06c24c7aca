import { expect, test } from 'vitest';
import { describeError, Fault, hasCode, isPermanent } from './fault.ts';

test('a description names every cause, outermost first, and repeats none', () => {
  const disk = new Error('EIO: i/o error, read');
  const fault = new Fault('Reading disk vda of vm web-1 failed', {
    cause: new Error('port 3 of proxy p2', { cause: disk }),
  });
  expect(describeError(fault)).toBe(
    'Reading disk vda of vm web-1 failed: port 3 of proxy p2: EIO: i/o error, read',
  );
  expect(describeError(new Error('a: b', { cause: new Error('b') }))).toBe('a: b');
});

test('a description stays short, and what lies behind a long cause is still there', () => {
  const cause = new Error('EIO: i/o error, read');
  const described = describeError(new Error(`refused: ${'x'.repeat(2_000_000)}`, { cause }));
  expect(described).toMatch(/^refused: x+\.\.\. \(\d+ characters more\): EIO: i\/o error, read$/);
  const many = Array.from({ length: 5_000 }, (_, index) => new Error(`disk ${index}`));
  for (const long of [described, describeError(new AggregateError(many, ''))])
    expect(long.length).toBeLessThan(5_000);
  expect(describeError(new AggregateError(many, ''))).toMatch(/^disk 0; .*disk 19 and 4980 more$/);
});

test('a permanent fault stays permanent when it is wrapped', () => {
  const inner = new Fault('The image is corrupt', { permanent: true });
  expect(isPermanent(new Error('Opening failed', { cause: inner }))).toBe(true);
  expect(isPermanent(new Fault('The server went away'))).toBe(false);
});

test('a code is found wherever in the chain of causes it is, and no other', () => {
  const error = new Fault('outer', {
    cause: new Error('between', { cause: new Fault('inner', { code: 'EIO' }) }),
  });
  expect([hasCode(error, 'EPERM', 'EIO'), hasCode(error, 'EPERM'), hasCode(undefined, 'EIO')]).toEqual([
    true,
    false,
    false,
  ]);
});
