import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Manifest } from '@backhaul/repository';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { targetsOf } from './disk-targets.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'backhaul-targets-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const manifestOf = (...diskIds: string[]) =>
  ({ backupId: 'b', disks: diskIds.map((diskId) => ({ diskId })) }) as unknown as Manifest;

test('disks go to files of their names in the folder that was named', async () => {
  expect(await targetsOf(manifestOf('vda', 'vdb'), folder, undefined)).toEqual([
    { diskId: 'vda', target: join(folder, 'vda.raw') },
    { diskId: 'vdb', target: join(folder, 'vdb.raw') },
  ]);
});

test.each(['../x', '/etc/x', 'a/../../x', 'a/b'])('no disk goes elsewhere, as %s would', async (diskId) => {
  for (const to of [folder, `${folder}/`])
    await expect(targetsOf(manifestOf('vda', diskId), to, undefined)).rejects.toThrow(/leads out of/);
});
