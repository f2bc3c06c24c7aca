/** Two instances at once, of two services, on one Postgres. */
import { type Event, hostPolicyStream, noHostPolicy } from '@backhaul/contracts';
import { connectEventStore, type EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId, eventually } from '@backhaul/kernel';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { type ByteRates, byteRates } from './byte-rates.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const MiB = 1024 ** 2;
let servers: TestStore;
let trigger: EventStore;
let instances: ByteRates[];

beforeAll(async () => {
  servers = await openTestStore();
  trigger = await servers.store('trigger');
  instances = [byteRates(await servers.store('ingest')), byteRates(await servers.store('export'))];
});
afterAll(() => servers?.close());

let revision = 0;
async function limitHost(hostId: string, bytesPerSecond: number | null): Promise<void> {
  revision += 1;
  const policy = { ...noHostPolicy, bytesPerSecond };
  const event: Event = {
    type: 'HostPolicyDefined',
    data: { hostId, policy, revision, definedAt: new Date().toISOString() },
  };
  const context = {
    commandId: derivedId('limit', revision),
    metadata: { correlation: 'limit', causation: 'limit', actor: 'test' },
  };
  await trigger.append([{ stream: hostPolicyStream(hostId), expected: 'any', events: [event] }], context);
}

/** Takes pieces with both instances, several lanes each, until the signal: when each was had, and how large it was. */
function takeAll(hostId: string, pieceBytes: number, signal: AbortSignal) {
  const taken: { readonly at: number; readonly bytes: number }[] = [];
  const lanes = instances.flatMap((rates) =>
    [1, 2, 3].map(async () => {
      while (!signal.aborted) {
        await rates.take(hostId, pieceBytes, signal);
        taken.push({ at: performance.now(), bytes: pieceBytes });
        // What moves a piece takes its time.
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }),
  );
  return { taken, done: Promise.allSettled(lanes) };
}

/** Milliseconds that the next so many bytes took, from the first piece that was had after `from`. */
async function timeFor(taken: readonly { at: number; bytes: number }[], bytes: number, from: number) {
  return await eventually(`${bytes} bytes to be taken`, 30_000, async () => {
    let sum = 0;
    const since = taken.filter(({ at }) => at >= from);
    const last = since.find((piece) => {
      sum += piece.bytes;
      return sum > bytes;
    });
    return last === undefined ? undefined : last.at - (since[0]?.at ?? last.at);
  });
}

test('two instances together stay within the limit of their host and use it; a change counts within 3 seconds', async () => {
  await limitHost('lab', 40 * MiB);
  const stop = new AbortController();
  const { taken, done } = takeAll('lab', 256 * 1024, stop.signal);
  const fast = await timeFor(taken, 160 * MiB, performance.now());
  expect(fast).toBeGreaterThan(4_000 / 1.1);
  expect(fast).toBeLessThan(4_000 * 1.25);

  await limitHost('lab', 8 * MiB);
  const slow = await timeFor(taken, 24 * MiB, performance.now() + 3_000);
  expect(slow).toBeGreaterThan(3_000 / 1.1);
  expect(slow).toBeLessThan(3_000 * 1.25);

  await limitHost('lab', null);
  // Six lanes of 256 KiB every 2 ms: far more than any limit before.
  expect(await timeFor(taken, 100 * MiB, performance.now() + 3_000)).toBeLessThan(1_000);
  stop.abort();
  await done;
});

test('a piece larger than what a second allows is waited for, and not refused', async () => {
  await limitHost('slow', MiB);
  const begun = performance.now();
  await instances[0]?.take('slow', 2 * MiB, AbortSignal.timeout(10_000));
  expect(performance.now() - begun).toBeGreaterThan(1_500);
});

test('where there is no limit, it is asked about once and nothing is written', async () => {
  const begun = performance.now();
  for (let count = 0; count < 1_000; count += 1)
    await instances[0]?.take('free', MiB, new AbortController().signal);
  expect(performance.now() - begun).toBeLessThan(1_000);
  const admin = await servers.store('console');
  await expect(sql`select * from public.byte_rates`.execute(admin.kysely)).rejects.toThrow(
    /permission denied/,
  );
});

test('a clock that was ahead holds nobody up for longer than half a minute, and a limit that is lifted nobody', async () => {
  await limitHost('ahead', MiB);
  const admin = await connectEventStore({ url: servers.adminUrl });
  onTestFinished(() => admin.close());
  await sql`insert into public.byte_rates values ('host ahead', now() + interval '60 days')`.execute(
    admin.kysely,
  );
  const { rows } = await sql<{
    seconds: number;
  }>`select public.take_slice('host ahead', 0.25) as seconds`.execute(admin.kysely);
  expect(rows[0]?.seconds).toBeGreaterThan(25);
  expect(rows[0]?.seconds).toBeLessThan(31);

  const spokenFor = async (): Promise<string> =>
    (
      await sql<{ until: string }>`
        select free_at::text as until from public.byte_rates where scope = 'host ahead'`.execute(admin.kysely)
    ).rows[0]?.until ?? '';
  const before = await spokenFor();
  const begun = performance.now();
  const taking = instances[0]?.take('ahead', MiB, AbortSignal.timeout(40_000));
  await eventually(
    'a slice to be waited for',
    5_000,
    async () => (await spokenFor()) !== before || undefined,
  );
  await limitHost('ahead', null);
  await taking;
  expect(performance.now() - begun).toBeLessThan(5_000);
});

test('only who moves data may take', async () => {
  for (const service of ['trigger', 'planner', 'proxy-manager', 'console'] as const) {
    const store = await servers.store(service);
    const taking = sql`select public.take_slice('deployment', 1)`.execute(store.kysely);
    await expect(taking).rejects.toThrow(/permission denied/);
  }
});
