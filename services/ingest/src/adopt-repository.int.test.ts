/** Starts of ingest before, after and instead of the mount of its repository: a real log, and folders that come and go. */
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deploymentRepositoryStream } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore } from '@backhaul/event-store/testing';
import { eventually } from '@backhaul/kernel';
import type { Repository } from '@backhaul/repository';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { adoptRepository, repositoryWhenThere, requireAdopted } from './adopt-repository.ts';

/** A deployment of its own, and a folder that a file system is to be mounted at. */
async function deployment() {
  const server = await openTestStore();
  onTestFinished(() => server.close());
  const store = await server.store('ingest');
  const folder = await mkdtemp(join(tmpdir(), 'bh-adopt-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const location = join(folder, 'repository');
  await mkdir(location);
  const parts = (replaces?: string) => ({
    ...{ store, replaces, log: pino({ level: 'silent' }) },
    options: { location, workers: 1 },
  });
  const start = (replaces?: string): Promise<Repository> => closedAfter(adoptRepository(parts(replaces)));
  return { store, folder, location, parts, start, swap: () => swapper(folder, location) };
}
async function closedAfter(opening: Promise<Repository>): Promise<Repository> {
  const repository = await opening;
  onTestFinished(() => repository.close());
  return repository;
}
async function swapper(folder: string, location: string) {
  const aside = join(folder, `aside-${Math.random()}`);
  await rename(location, aside);
  await mkdir(location);
  return async () => {
    await rm(location, { recursive: true });
    await rename(aside, location);
  };
}
const noted = async (store: EventStore) =>
  await Array.fromAsync(store.readStream(deploymentRepositoryStream), ({ data }) => data);
const away = (pattern: string) => ({
  ...{ code: 'RepositoryAway', permanent: false },
  message: expect.stringMatching(new RegExp(pattern, 's')),
});

test('starts at once make one repository and note it once', async () => {
  const { store, location, start } = await deployment();
  const opened = await Promise.all([start(), start(), start()]);
  const ids = new Set(opened.map(({ repositoryId }) => repositoryId));
  expect(ids.size).toBe(1);
  expect(await noted(store)).toEqual([
    expect.objectContaining({ repositoryId: [...ids][0], location, replaces: null }),
  ]);
  expect((await start()).repositoryId).toBe([...ids][0]);
  expect(await noted(store)).toHaveLength(1);
});

test('a start before the mount makes nothing, says what it waits for, and goes on by itself', async () => {
  const { location, parts, start, swap } = await deployment();
  const { repositoryId } = await start();
  const mount = await swap();
  const reasons: string[] = [];
  const waiting = closedAfter(repositoryWhenThere(parts(), (reason) => void reasons.push(reason), 20));
  await eventually('some looks', 10_000, () => (reasons.length > 2 ? true : undefined));
  expect(reasons[0]).toMatch(`${location} there is no repository`);
  expect(reasons[0]).toContain(repositoryId);
  expect(await readdir(location)).toEqual([]);
  await mount();
  expect((await waiting).repositoryId).toBe(repositoryId);
});

test('another repository is taken only by an order that names the one before, and by that order once', async () => {
  const { store, start, swap } = await deployment();
  const first = await start();
  const putBack = await swap();
  await expect(start(crypto.randomUUID())).rejects.toMatchObject(away(`${first.repositoryId}`));
  const second = await start(first.repositoryId);
  expect(second.repositoryId).not.toBe(first.repositoryId);
  expect((await noted(store)).at(-1)).toMatchObject({
    ...{ repositoryId: second.repositoryId, made: true, replaces: first.repositoryId },
  });
  await requireAdopted(store, second);

  // Somebody mounts the old one again, and the order still stands in the environment.
  await putBack();
  const both = `${first.repositoryId} is.*${second.repositoryId}`;
  await expect(start(first.repositoryId)).rejects.toMatchObject(away(both));
  // Nor does an ingest go on that was started with the old one, on this machine or another.
  await expect(requireAdopted(store, first)).rejects.toMatchObject(away(second.repositoryId));
});
