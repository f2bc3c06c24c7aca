import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildAppliance, defaultApplianceDirectory } from './build.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'appliance-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test('the same inputs give the same bytes, a few of them, once, and say what they are', async () => {
  const packagesFolder = join(defaultApplianceDirectory(), 'packages');
  const one = await buildAppliance({ to: join(folder, 'one'), packagesFolder });
  const other = await buildAppliance({ to: join(folder, 'other'), packagesFolder });
  expect([one.built, other.built]).toEqual([true, true]);
  expect(other.initramfsSha256).toBe(one.initramfsSha256);
  expect(other.kernelSha256).toBe(one.kernelSha256);
  expect(one.initramfsBytes).toBeLessThan(8 * MiB);

  const files = ['appliance.json', 'initramfs.zst', 'vmlinuz'];
  expect((await readdir(one.directory)).sort()).toEqual(files);
  for (const file of files) {
    const [mine, theirs] = await Promise.all(
      [one, other].map(({ directory }) => readFile(join(directory, file))),
    );
    expect(mine?.equals(theirs ?? Buffer.alloc(0))).toBe(true);
  }
  const described = JSON.parse(await readFile(join(one.directory, 'appliance.json'), 'utf8'));
  const initramfs = await readFile(join(one.directory, 'initramfs.zst'));
  expect(described.initramfs.sha256).toBe(createHash('sha256').update(initramfs).digest('hex'));
  expect(described.packages.map((one: { name: string }) => one.name)).toContain('nbdkit');
  expect(Object.keys(described.guest)).toContain('init');

  // What stands is left alone, and built anew when it is not what was built.
  expect(await buildAppliance({ to: one.directory, packagesFolder })).toEqual({ ...one, built: false });
  await appendFile(join(one.directory, 'initramfs.zst'), 'x');
  expect(await buildAppliance({ to: one.directory, packagesFolder })).toEqual(one);
});
