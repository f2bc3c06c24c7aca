/**
 * The control plane alone: real trigger, planner and proxy-manager, real Postgres (durable) and NATS, and a host that answers at
 * once. First a steady 50 requests/s: how long one takes from its publish to its `ProxiesActivated`, at the 99th of 100. Then,
 * on top of those open runs, 10,000 requests in one burst: requests/s from the first publish to the last `ProxiesActivated`,
 * and whether the rate holds while open runs pile up. Says every few seconds how far it is; what is not done in time is told as
 * it stands, in `burst.activated`, and never made up.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requestSubject } from '@backhaul/contracts';
import { connectEventStore, type EventStore } from '@backhaul/event-store';
import { MiB, natsAddress } from '@backhaul/kernel';
import { type Stack, startStack } from '@backhaul/local';
import { connect, type JetStreamClient } from 'nats';

const BURST = Number(process.env.BACKHAUL_BENCH_BURST ?? 10_000);
const STEADY_PER_SECOND = 50;
const STEADY_SECONDS = Number(process.env.BACKHAUL_BENCH_STEADY_SECONDS ?? 20);
const STEADY = STEADY_PER_SECOND * STEADY_SECONDS;
const HOST = 'simulated';
/** When to stop waiting for the last of them. */
const BURST_MILLISECONDS_MAX = Number(process.env.BACKHAUL_BENCH_BURST_SECONDS ?? 300) * 1000;
const STEADY_MILLISECONDS_MAX = 60_000;
const PROGRESS_MILLISECONDS = 5_000;
const POLL_MILLISECONDS = 100;
/** Published and not yet stored at a time. */
const IN_FLIGHT = 64;
const WATCHED = ['BackupTriggered', 'ProxiesCalculated', 'ProxiesActivated'] as const;

export async function run(): Promise<Record<string, number>> {
  const directory = await mkdtemp(join(tmpdir(), 'bb-'));
  const stack = await startStack({
    directory,
    repository: join(directory, 'repository'),
    hosts: [{ hostId: HOST, kind: 'simulated', address: String(BURST + STEADY) }],
    services: ['proxy-manager', 'planner', 'trigger'],
    environment: { BACKHAUL_LOG_LEVEL: 'warn' },
  });
  const nats = await connect(natsAddress(stack.natsUrl));
  const log = await connectEventStore({ url: stack.consolePostgresUrl });
  try {
    const js = nats.jetstream();
    // Room for every run at once: what is measured is deciding and recording, not waiting for room on proxies.
    const policy = { policyId: 'roomy', maxDisksPerProxy: 1_000_000, fullThresholdBytes: 1 * MiB };
    await js.publish(requestSubject('PolicyRequested'), JSON.stringify({ requestId: 'policy', policy }));
    const steady = await steadily(js, log);
    const burst = await atOnce(js, log, stack);
    return { ...burst, ...steady };
  } finally {
    await nats.close();
    await log.close();
    await stack.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

const request = (js: JetStreamClient, number: number) => {
  const requestId = `r${number}`;
  const body = { requestId, host: HOST, vm: `vm${number}`, policy: 'roomy' };
  return js.publish(requestSubject('BackupRequested'), JSON.stringify(body), { msgID: requestId });
};

async function atOnce(js: JetStreamClient, log: EventStore, stack: Stack): Promise<Record<string, number>> {
  if (BURST === 0) return {};
  const after = (await log.readLog(Number.MAX_SAFE_INTEGER)).highWater;
  const cpuBefore = await cpuMilliseconds(stack);
  const begun = Date.now();
  const watched = activations(log, { after, count: BURST, milliseconds: BURST_MILLISECONDS_MAX });
  let next = STEADY + 1;
  const publisher = async (): Promise<void> => {
    while (next <= STEADY + BURST) {
      const number = next;
      next += 1;
      await request(js, number);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, publisher));
  const published = Date.now();
  const times = (await watched).map(({ at }) => at).sort((a, b) => a - b);
  const used = await cpuMilliseconds(stack);
  const tenth = Math.floor(times.length / 10);
  const rateOver = (from: number, to: number): number =>
    ((to - from) * 1000) / ((times[to - 1] ?? Number.NaN) - (times[from - 1] ?? begun));
  return {
    'burst.requests': BURST,
    'burst.activated': times.length,
    'burst.publishedPerSecond': (BURST * 1000) / (published - begun),
    'burst.activatedPerSecond': rateOver(0, times.length),
    // The second tenth and the last: the services have warmed up, and ten times as many runs are open.
    'burst.secondTenthPerSecond': rateOver(tenth, 2 * tenth),
    'burst.lastTenthPerSecond': rateOver(times.length - tenth, times.length),
    ...Object.fromEntries(
      [...used].map(([service, milliseconds]) => [
        `burst.cpuMillisecondsPerRequest.${service}`,
        (milliseconds - (cpuBefore.get(service) ?? 0)) / times.length,
      ]),
    ),
  };
}

async function steadily(js: JetStreamClient, log: EventStore): Promise<Record<string, number>> {
  const sent = new Map<string, number>();
  const begun = Date.now();
  const all = activations(log, { after: 0, count: STEADY, milliseconds: STEADY_MILLISECONDS_MAX });
  for (let number = 1; number <= STEADY; number += 1) {
    const due = begun + ((number - 1) * 1000) / STEADY_PER_SECOND;
    if (due > Date.now()) await new Promise((resolve) => setTimeout(resolve, due - Date.now()));
    sent.set(`vm${number}`, Date.now());
    await request(js, number);
  }
  const latencies = (await all).map(({ vmId, at }) => at - (sent.get(vmId) ?? Number.NaN));
  // One that was not activated in time was slower than any that was.
  while (latencies.length < STEADY) latencies.push(Number.POSITIVE_INFINITY);
  latencies.sort((a, b) => a - b);
  return {
    'burst.steady50.p50Milliseconds': latencies[Math.floor(STEADY * 0.5)] ?? Number.NaN,
    'burst.steady50.p99Milliseconds': latencies[Math.floor(STEADY * 0.99)] ?? Number.NaN,
  };
}

/** When each VM had its `ProxiesActivated` recorded: `count` of them, or fewer when the time is up. */
async function activations(
  log: EventStore,
  { after, count, milliseconds }: { after: number; count: number; milliseconds: number },
): Promise<{ vmId: string; at: number }[]> {
  const begun = Date.now();
  const found: { vmId: string; at: number }[] = [];
  let position = after;
  let told = begun;
  while (found.length < count) {
    const page = await log.readLog(position, { types: ['ProxiesActivated'], limit: 5_000 });
    for (const event of page.events) {
      if (event.type === 'ProxiesActivated')
        found.push({ vmId: event.data.vmId, at: Date.parse(event.recordedAt) });
    }
    position = page.next;
    if (Date.now() - told >= PROGRESS_MILLISECONDS) {
      told = Date.now();
      console.log(
        `  after ${Math.round((told - begun) / 1000)} s: ${await progress(log, after)} of ${count}`,
      );
    }
    if (Date.now() - begun > milliseconds) {
      console.log(`  gave up after ${milliseconds / 1000} s with ${found.length} of ${count} activated`);
      break;
    }
    if (page.events.length === 0) await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
  return found;
}

async function progress(log: EventStore, after: number): Promise<string> {
  const rows = await log.kysely
    .selectFrom('events')
    .select((each) => ['type', each.fn.countAll<number>().as('count')])
    .where('position', '>', after)
    .where('type', 'in', [...WATCHED])
    .groupBy('type')
    .execute();
  const counts = new Map(rows.map(({ type, count }) => [type, count]));
  const [triggered, planned, activated] = WATCHED.map((type) => counts.get(type) ?? 0);
  return `${triggered} triggered, ${planned} planned, ${activated} activated`;
}

/** Processor time each service has used so far (proc(5): fields 14 and 15 of stat, in hundredths of a second on Linux). */
async function cpuMilliseconds(stack: Stack): Promise<Map<string, number>> {
  const used = new Map<string, number>();
  for (const [name, { pid }] of stack.services) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    used.set(name, (Number(fields[11]) + Number(fields[12])) * 10);
  }
  return used;
}
