/**
 * The control plane alone: real trigger, planner and proxy-manager, real Postgres (durable) and NATS, and a host that answers at
 * once. 10,000 requests in one burst: requests/s from the first publish to the last `ProxiesActivated`. Then a steady 50
 * requests/s: how long one takes from its publish to its `ProxiesActivated`, at the 99th of 100.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requestSubject } from '@backhaul/contracts';
import { connectEventStore, type EventStore, serviceUrl } from '@backhaul/event-store';
import { Fault, MiB } from '@backhaul/kernel';
import { startStack } from '@backhaul/local';
import { connect, type JetStreamClient } from 'nats';

const BURST = Number(process.env.BACKHAUL_BENCH_BURST ?? 10_000);
const STEADY_PER_SECOND = 50;
const STEADY_SECONDS = 20;
const HOST = 'simulated';
const MILLISECONDS_MAX = 900_000;
/** Published and not yet stored at a time. */
const IN_FLIGHT = 64;

export async function run(): Promise<Record<string, number>> {
  const directory = await mkdtemp(join(tmpdir(), 'bb-'));
  const vms = BURST + STEADY_PER_SECOND * STEADY_SECONDS;
  const stack = await startStack({
    directory,
    repository: join(directory, 'repository'),
    hosts: [{ hostId: HOST, kind: 'simulated', address: String(vms) }],
    services: ['proxy-manager', 'planner', 'trigger'],
    environment: { BACKHAUL_LOG_LEVEL: 'warn' },
  });
  const nats = await connect({ servers: stack.natsUrl });
  const log = await connectEventStore({ url: serviceUrl(stack.adminUrl, 'console', 'backhaul') });
  try {
    const js = nats.jetstream();
    // Room for every run at once: what is measured is deciding and recording, not waiting for room on proxies.
    const policy = { policyId: 'roomy', maxDisksPerProxy: 1_000_000, fullThresholdBytes: 1 * MiB };
    await js.publish(requestSubject('PolicyRequested'), JSON.stringify({ requestId: 'policy', policy }));
    const steady = await steadily(js, log);
    const burst = await atOnce(js, log);
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

async function atOnce(js: JetStreamClient, log: EventStore): Promise<Record<string, number>> {
  const first = STEADY_PER_SECOND * STEADY_SECONDS + 1;
  const after = (await log.readLog(Number.MAX_SAFE_INTEGER)).highWater;
  const begun = Date.now();
  let next = first;
  const publisher = async (): Promise<void> => {
    while (next < first + BURST) {
      const number = next;
      next += 1;
      await request(js, number);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, publisher));
  const published = Date.now();
  const last = await activations(log, after, BURST, () => undefined);
  return {
    'burst.requests': BURST,
    'burst.publishedPerSecond': (BURST * 1000) / (published - begun),
    'burst.activatedPerSecond': (BURST * 1000) / (last - begun),
  };
}

async function steadily(js: JetStreamClient, log: EventStore): Promise<Record<string, number>> {
  const total = STEADY_PER_SECOND * STEADY_SECONDS;
  const sent = new Map<string, number>();
  const latencies: number[] = [];
  const begun = Date.now();
  const all = activations(log, 0, total, (vmId, at) => latencies.push(at - (sent.get(vmId) ?? Number.NaN)));
  for (let number = 1; number <= total; number += 1) {
    const due = begun + ((number - 1) * 1000) / STEADY_PER_SECOND;
    if (due > Date.now()) await new Promise((resolve) => setTimeout(resolve, due - Date.now()));
    sent.set(`vm${number}`, Date.now());
    await request(js, number);
  }
  await all;
  latencies.sort((a, b) => a - b);
  return {
    'burst.steady50.p50Milliseconds': latencies[Math.floor(latencies.length * 0.5)] ?? Number.NaN,
    'burst.steady50.p99Milliseconds': latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
  };
}

/** Reads on until so many VMs had their `ProxiesActivated`; when the last was recorded. */
async function activations(
  log: EventStore,
  after: number,
  count: number,
  each: (vmId: string, at: number) => void,
): Promise<number> {
  const end = Date.now() + MILLISECONDS_MAX;
  let position = after;
  let last = 0;
  for (let seen = 0; seen < count; ) {
    if (Date.now() > end)
      throw new Fault(`${seen} of ${count} runs were activated within ${MILLISECONDS_MAX} ms`);
    const page = await log.readLog(position, { types: ['ProxiesActivated'], limit: 5_000 });
    for (const event of page.events) {
      if (event.type !== 'ProxiesActivated') continue;
      seen += 1;
      last = Date.parse(event.recordedAt);
      each(event.data.vmId, last);
    }
    position = page.next;
    if (page.events.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return last;
}
