/**
 * A host whose file system hangs and does not fail, as one that is mounted over a network does when its server is gone. Here it is a pipe
 * that nobody writes to in the place of a file: whoever opens it waits until somebody does, in the kernel.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { openHost } from '@backhaul/hypervisor';
import { keptPools } from '@backhaul/kept-pools';
import { derivedId, eventually } from '@backhaul/kernel';
import { carryOut } from '@backhaul/pool';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { HostWorker } from './host-worker.ts';
import { Ledger } from './ledger.ts';

const log = pino({ level: 'silent' });
const milliseconds = 20_000;
let server: TestStore;
let directory: string;
let pipe: string;
beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-hung-'));
  pipe = join(directory, 'state', 'lab', 'snapshots', derivedId('test', 'hung'), 'snapshot.json');
});
afterEach(async () => {
  letGo();
  await rm(directory, { recursive: true, force: true });
});

/** Whoever waits for a writer has had one. */
function letGo(): void {
  try {
    closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // Nobody waits.
  }
}

async function workAtFolder(lookMilliseconds: number) {
  const store = await server.store('proxy-manager');
  const [address, stateDirectory] = [join(directory, 'images'), join(directory, 'state')];
  await mkdir(address);
  const real = await openHost({ hostId: 'lab', kind: 'directory', address, stateDirectory });
  const looks = { asked: 0 };
  const observe = () => {
    looks.asked += 1;
    return real.observe();
  };
  const ledger = new Ledger('lab', keptPools({ store, log }));
  const at = new Date().toISOString();
  await ledger.decide(store, { kind: 'registration', at: Date.now() }, (pool) =>
    carryOut(pool, { type: 'RegisterHost', kind: 'directory', address }, at),
  );
  const worker = new HostWorker({ host: { ...real, observe }, ledger, store, log, lookMilliseconds });
  const stop = new AbortController();
  const working = worker.run(stop.signal);
  const end = async () => {
    stop.abort();
    await working;
  };
  return { worker, looks, end };
}

const hang = async (): Promise<void> => {
  await mkdir(join(pipe, '..'), { recursive: true });
  await promisify(execFile)('mkfifo', [pipe]);
};

test('a look that never comes back is told, is waited for alone, and is forgotten when it does', async () => {
  const { worker, looks, end } = await workAtFolder(1_000);
  await eventually('a look', milliseconds, () => looks.asked > 0 || undefined);
  expect(worker.health()).toEqual({ ok: true, detail: 'open' });

  await hang();
  const since = await eventually('the alarm', milliseconds, () => {
    const { ok, detail } = worker.health();
    return ok ? undefined : detail;
  });
  expect(since).toMatch(
    /^no look at it has finished since 20.*: Looking at host lab took longer than 1000 ms$/,
  );
  // Each would take another thread of the process.
  const [before, at] = [looks.asked, Date.now()];
  await eventually('the time of another look', milliseconds, () => Date.now() - at > 4_000 || undefined);
  expect(looks.asked).toBe(before);

  letGo();
  await rm(join(pipe, '..'), { recursive: true });
  await eventually('health', milliseconds, () => worker.health().ok || undefined);
  expect(looks.asked).toBeGreaterThan(before);
  await end();
}, 60_000);

test('who works at it can stop while it hangs', async () => {
  await hang();
  const { looks, end } = await workAtFolder(600_000);
  await eventually('a look', milliseconds, () => looks.asked > 0 || undefined);
  const from = Date.now();
  await end();
  expect(Date.now() - from).toBeLessThan(10_000);
}, 60_000);
