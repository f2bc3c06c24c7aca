import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSealKey } from './key.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'backhaul-key-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the key for seals', () => {
  test('is made once, for its owner alone, also by several at a time', async () => {
    const path = join(folder, 'made.pem');
    const keys = await Promise.all([1, 2, 3].map(() => openSealKey(path)));
    expect(new Set(keys.map(({ publicKey }) => publicKey)).size).toBe(1);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await openSealKey(path)).publicKey).toBe(keys[0]?.publicKey);
  });

  test('is not used when others can read it', async () => {
    const path = join(folder, 'open.pem');
    await openSealKey(path);
    await chmod(path, 0o640);
    await expect(openSealKey(path)).rejects.toMatchObject({
      permanent: true,
      cause: { message: expect.stringMatching(/its mode is 0640 and must be 0600/) },
    });
  });
});
