/** A request under an id that was used before, as an upstream system sends it: repeated, corrected, or followed by an order. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Stack, startStack } from '@backhaul/local';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { orderRun, requestBackup } from './upstream.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let directory: string;
let stack: Stack;

/** The trigger alone: a backup is triggered, and nothing comes of it. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-upstream-'));
  stack = await startStack({
    directory,
    repository: join(directory, 'repository'),
    hosts: [{ hostId: 'lab', kind: 'directory', address: directory }],
    services: ['trigger'],
    postgresSettings: ['fsync=off'],
  });
});
afterAll(async () => {
  await stack?.stop();
  await rm(directory, { recursive: true, force: true });
});

const asked = (requestId: string, vm: string) => ({
  ...{ natsUrl: stack.natsUrl, requestId, host: 'lab', vm },
  answerMilliseconds: 10_000,
});

test('the same request again is answered again, with the same backup', async () => {
  const first = await requestBackup(asked('again', 'web-1'));
  expect(first).toMatchObject({ outcome: 'accepted' });
  expect(await requestBackup(asked('again', 'web-1'))).toEqual(first);
});

test('a request that did not fit is corrected under its own id', async () => {
  const wrong = { ...asked('corrected', 'web-2'), priority: 'at once' as never };
  expect(await requestBackup(wrong)).toMatchObject({
    outcome: 'refused',
    refusal: { code: 'InvalidRequest', message: expect.stringContaining('send it again') },
  });
  expect(await requestBackup({ ...wrong, priority: 'urgent' })).toMatchObject({ outcome: 'accepted' });
});

test('a backup is cancelled under the id that it was asked for with, and whoever waits for its end hears of that alone', async () => {
  const heard: string[] = [];
  const { backupId: first = '' } = await requestBackup(asked('before', 'web-3'));
  const ended = requestBackup({
    ...asked('own-id', 'web-3'),
    finalMilliseconds: 30_000,
    onAnswer: ({ outcome }) => heard.push(outcome),
  });
  await vi.waitUntil(() => heard.length === 1, { timeout: 10_000 });
  const { backupId = '' } = await requestBackup(asked('own-id', 'web-3'));
  expect(backupId).not.toBe(first);
  const order = { ...{ natsUrl: stack.natsUrl, requestId: 'own-id', backupId }, answerMilliseconds: 10_000 };
  expect(await orderRun('BackupCancellationRequested', order)).toMatchObject({ outcome: 'accepted' });
  expect(await ended).toMatchObject({ outcome: 'refused', refusal: { code: 'BackupCancelled' }, backupId });
  expect(heard).toEqual(['accepted', 'refused']);
});
