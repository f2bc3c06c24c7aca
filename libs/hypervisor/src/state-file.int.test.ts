import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { isThere, readState, removeFolder, writeState } from './state-file.ts';

const Shape = z.object({ n: z.int() });

describe('a state file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bh-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  test('is read as it was written last, and its folder is made when it is missing', async () => {
    const path = join(folder, 'a', 'b', 'state.json');
    expect(await readState(path, Shape)).toBeUndefined();
    await writeState(path, { n: 1 });
    await writeState(path, { n: 2 });
    expect(await readState(path, Shape)).toEqual({ n: 2 });
    await removeFolder(join(folder, 'a'));
    await removeFolder(join(folder, 'a'));
    expect(await readState(path, Shape)).toBeUndefined();
  });

  test('that does not fit is a permanent fault which names it, never a guess', async () => {
    const path = join(folder, 'state.json');
    for (const text of ['', '{"n": "one"}', '{"n": 1']) {
      await writeFile(path, text);
      await expect(readState(path, Shape)).rejects.toMatchObject({
        permanent: true,
        code: 'StateUnreadable',
        message: expect.stringContaining(path),
      });
    }
  });

  test('or folder that cannot be looked at is not taken for one that is gone', async () => {
    const loop = join(folder, 'loop');
    await symlink(loop, loop);
    expect([await isThere(loop), await isThere(join(folder, 'none')), await isThere(folder)]).toEqual([
      true,
      false,
      true,
    ]);
    await expect(isThere(join(loop, 'below'))).rejects.toMatchObject({
      message: expect.stringContaining('below'),
      cause: { code: 'ELOOP' },
    });
  });
});
