import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSealKey, type Sealed, verifyLog } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { describeError, eventually } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runSealer } from './adapters/sealer.ts';
import { narrator } from './testing/append-story.ts';
import { backupStory } from './testing/story.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: TestStore;
let folder: string;
beforeAll(async () => {
  [server, folder] = await Promise.all([openTestStore(), mkdtemp(join(tmpdir(), 'backhaul-sealer-'))]);
});
afterAll(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

test('what comes into the log is sealed as it comes, and a key that cannot be used is told and not given up', async () => {
  const store = await server.store('console');
  const story = narrator((service) => server.store(service));
  const stopping = new AbortController();
  const made: Sealed[] = [];
  const faults: string[] = [];
  const missing = join(folder, 'not-there-yet');
  const running = runSealer({
    store,
    keyFile: join(missing, 'key.pem'),
    milliseconds: 10,
    signal: stopping.signal,
    onSealed: (sealed) => made.push(sealed),
    onFault: (error) => faults.push(describeError(error)),
  });
  await story.tell(backupStory({ name: 'b1' }));
  await eventually('the fault', 10_000, () => faults[0]);
  expect(faults[0]).toMatch(/The key for seals in .*key\.pem cannot be used: ENOENT/);
  expect(made).toEqual([]);

  await mkdir(missing);
  // Behind the end there is nothing to read, so the high water is asked for and not remembered.
  const endOfLog = async () => (await store.readLog(Number.MAX_SAFE_INTEGER)).highWater;
  const sealedThrough = (position: number) =>
    eventually('seals', 10_000, () => (made.at(-1)?.through ?? 0) >= position || undefined);
  await sealedThrough(await endOfLog());
  await story.tell(backupStory({ name: 'b2' }));
  await sealedThrough(await endOfLog());
  stopping.abort();
  await running;

  const { publicKey } = await openSealKey(join(missing, 'key.pem'));
  const newest = made.at(-1);
  expect(await verifyLog(store, { publicKey })).toMatchObject({
    ok: true,
    seals: made.length,
    unsealed: 0,
    newest: { seal: newest?.seal, hash: newest?.hash },
  });
});
