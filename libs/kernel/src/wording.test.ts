import { expect, test } from 'vitest';
import { listed, shortened } from './wording.ts';

test('a list says its first items and how many more there are', () => {
  expect(listed(['vda', 'vdb'])).toBe('vda, vdb');
  expect(listed(['a', 'b', 'c', 'd'], 2)).toBe('a, b and 2 more');
  expect(listed(['a', 'b', 'c'], 2, '; ')).toBe('a; b and 1 more');
  expect(listed([])).toBe('');
});

test('a text that is too long is cut between characters, and says how much is missing', () => {
  expect(shortened('fits', 4)).toBe('fits');
  expect(shortened('x'.repeat(10), 4)).toBe('xxxx... (6 characters more)');
  expect(shortened('ab\u{1f4be}cd', 3)).toBe('ab... (4 characters more)');
  expect(shortened('ab\u{1f4be}cd', 3).isWellFormed()).toBe(true);
});
