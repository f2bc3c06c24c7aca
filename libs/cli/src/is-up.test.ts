import { markOf } from '@backhaul/hypervisor';
import { expect, test } from 'vitest';
import { isUp } from './is-up.ts';

const { pid } = process;

test('the one that wrote the file is up; another that has its pid since is not', async () => {
  const started = (await markOf(pid))?.started ?? '';
  expect(await isUp({ pid, started })).toBe(true);
  expect(await isUp({ pid, started: started.replace(/\d+$/, '1') })).toBe(false);
  expect(await isUp({ pid, started: started.replace(/^[^/]+/, 'an-earlier-boot') })).toBe(false);
  // Beyond what Linux gives out.
  expect(await isUp({ pid: 2 ** 30, started })).toBe(false);
});

test('of a file of an earlier release the pid is all that is known', async () => {
  expect(await isUp({ pid })).toBe(true);
  expect(await isUp({ pid: 2 ** 30 })).toBe(false);
});
