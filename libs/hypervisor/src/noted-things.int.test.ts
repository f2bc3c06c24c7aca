import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { NotedThings } from './noted-things.ts';

const Shape = z.object({ id: z.string(), n: z.int() });
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const notes = (where = join(folder, 'snapshots')) =>
  new NotedThings(where, 'snapshot', Shape, ({ id }) => id);

test('what was noted is there for the next process, until it is forgotten', async () => {
  expect(await notes().all()).toEqual([]);
  await notes().write({ id: 'b', n: 1 });
  await notes().write({ id: 'a', n: 2 });
  expect(await notes().ids()).toEqual(['a', 'b']);
  expect(await notes().all()).toEqual([
    { id: 'a', n: 2 },
    { id: 'b', n: 1 },
  ]);
  await notes().forget('a');
  expect(await notes().read('a')).toBeUndefined();
  expect(await notes().ids()).toEqual(['b']);
});

test('a folder that cannot be looked into is not taken for an empty one', async () => {
  const file = join(folder, 'a-file');
  await writeFile(file, '');
  await expect(notes(file).ids()).rejects.toThrow(file);
  await expect(notes(file).all()).rejects.toThrow(file);
});

test('an id that would leave the folder is refused', async () => {
  await expect(notes().read('../other')).rejects.toMatchObject({ code: 'IdUnusable' });
});
