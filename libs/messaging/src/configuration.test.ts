import { expect, test } from 'vitest';
import { assertConfigured } from './configuration.ts';

test('what stands as wanted passes, whatever else the server has set', () => {
  assertConfigured('Stream X', { subjects: ['a'], max: 1 }, { max: 1, subjects: ['a'], more: true });
});

test('a difference is named with field, wanted and found', () => {
  expect(() =>
    assertConfigured('Stream X', { deny_delete: true, discard: 'new' }, { discard: 'old' }),
  ).toThrowError(
    expect.objectContaining({
      permanent: true,
      message:
        'Stream X is not configured as Backhaul needs it: deny_delete should be true and is missing; discard should be "new" and is "old"',
    }),
  );
});
