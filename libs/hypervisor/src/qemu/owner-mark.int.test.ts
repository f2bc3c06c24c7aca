/** Two deployments that were given the same folder of VMs. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openHost } from '../open-host.ts';
import { claimFolder } from './owner-mark.ts';

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'bh-owner-'));
  folder = join(root, 'vms');
  await mkdir(folder);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const claim = (deployment: string, hostId = 'lab') =>
  claimFolder({ folder, hostId, stateDirectory: join(root, deployment) });
const refusedFor = (owner: string, hostId = 'lab') => ({
  ...{ code: 'HostOwned', permanent: true },
  message: expect.stringMatching(
    new RegExp(`belongs to host ${hostId} .* ${join(root, owner)} on ${hostname()}.*remove .*owner.json`),
  ),
});

test('the first deployment has the folder, as often as it comes, and another is refused and told of it', async () => {
  await claim('one');
  await claim('one');
  const mark = await readFile(join(folder, '.backhaul-owner.json'));
  await expect(claim('two')).rejects.toMatchObject(refusedFor('one'));
  await expect(claim('one', 'lab-2')).rejects.toMatchObject(refusedFor('one'));
  expect(await readFile(join(folder, '.backhaul-owner.json'))).toEqual(mark);
});

test('of many that come at once one has it, and all processes of that deployment', async () => {
  const names = ['one', 'two', 'three'].flatMap((name) => Array.from({ length: 5 }, () => name));
  const claims = await Promise.allSettled(names.map((name) => claim(name)));
  const owners = new Set(names.filter((_, index) => claims[index]?.status === 'fulfilled'));
  expect(owners.size).toBe(1);
  expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(5);
});

test('a deployment that is gone with its state directory owns nothing', async () => {
  await claim('one');
  await rm(join(root, 'one'), { recursive: true });
  await claim('two');
  await expect(claim('one')).rejects.toMatchObject(refusedFor('two'));
});

test('a qemu host of another deployment cannot be opened', async () => {
  const open = (deployment: string) =>
    openHost({ hostId: 'lab', kind: 'qemu', address: folder, stateDirectory: join(root, deployment) });
  const host = await open('one');
  await expect(open('two')).rejects.toMatchObject(refusedFor('one'));
  await (await open('one')).close();
  await host.close();
});
