import { expect, test } from 'vitest';
import { exitCodes } from '../exit.ts';
import { readSetting } from './settings.ts';

test('sizes are written with units, counts and words as they are', () => {
  expect(['childJobBytes=64MiB', 'maxProxiesPerHost=2', 'mode=proxy-vm'].map(readSetting)).toEqual([
    ['childJobBytes', 64 * 1024 * 1024],
    ['maxProxiesPerHost', 2],
    ['mode', 'proxy-vm'],
  ]);
});

test('a setting that is none is a usage error which says how to write it', () => {
  const wrong = (setting: string): { exitCode: number; message: string } => {
    try {
      readSetting(setting);
    } catch (error) {
      return error as { exitCode: number; message: string };
    }
    throw new Error(`${setting} was taken`);
  };
  expect(wrong('maxProxies')).toMatchObject({
    exitCode: exitCodes.usage,
    message: expect.stringMatching(/field=value/),
  });
  expect(wrong('colour=red').message).toMatch(/has no field colour\. Known: childJobBytes, /);
  expect(wrong('maxProxiesPerHost=many').message).toMatch(/cannot be "many"\. Write a number\./);
});
