import { createHash } from 'node:crypto';
import { appendFile, cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
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
  // Built when it was first needed, perhaps by another process on another day.
  const standing = await buildAppliance();
  const files = ['appliance.json', 'initramfs.cpio', 'initramfs.zst', 'vmlinuz'];
  for (const file of files) await cp(join(standing.directory, file), join(folder, file));
  // What stands is left alone, and built anew when it is not what was built.
  const packagesFolder = join(defaultApplianceDirectory(), 'packages');
  const one = { ...standing, directory: folder };
  expect(await buildAppliance({ to: folder, packagesFolder })).toEqual({ ...one, built: false });
  await appendFile(join(folder, 'initramfs.zst'), 'x');
  expect(await buildAppliance({ to: folder, packagesFolder })).toEqual({ ...one, built: true });
  expect(one.initramfsBytes).toBeLessThan(8 * MiB);

  expect((await readdir(folder)).sort()).toEqual(files);
  for (const file of files) {
    const [mine, theirs] = await Promise.all(
      [folder, standing.directory].map((directory) => readFile(join(directory, file))),
    );
    expect(mine?.equals(theirs ?? Buffer.alloc(0))).toBe(true);
  }
  const described = JSON.parse(await readFile(join(folder, 'appliance.json'), 'utf8'));
  const initramfs = await readFile(join(folder, 'initramfs.zst'));
  expect(described.initramfs.sha256).toBe(createHash('sha256').update(initramfs).digest('hex'));
  expect(described.packages.map((one: { name: string }) => one.name)).toContain('nbdkit');
  expect(Object.keys(described.guest)).toContain('init');
});
