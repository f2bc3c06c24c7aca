/**
 * Real backups, recorded as they ran, beside their simulation: the same requests and inspections, at a host as fast as it was seen to be, under the
 * policies that they had. What the pool did for each and in which order is the same; how long it took is near.
 */
import { fileURLToPath } from 'node:url';
import { liftRecord, type Recorded } from '@backhaul/contracts';
import { readLogFile } from '@backhaul/event-store';
import { History, readQuestion, simulatedStory } from '@backhaul/simulation';
import { expect, test } from 'vitest';

/**
 * What is told of a run in its host's stream, where the order is the pool's own. When a job ends, and so a disk is given back, is the world's: of
 * those there are as many.
 */
const ORDERED = [
  'ActivationRequested',
  'SnapshotRequested',
  'SnapshotTaken',
  'ProxiesChosen',
  'DiskAttachRequested',
  'DiskAttached',
  'DirectEndpointOpened',
  'ProxiesActivated',
  'PortsLeased',
  'SnapshotReleased',
  'RunClosed',
];
const COUNTED = ['PortsReleased', 'DiskDetached', 'RunEnding'];
/** A run of seconds on a busy machine: how long it took is of the right size, and no more is claimed. */
const TIMES_APART = 4;

interface Step {
  readonly type: string;
  readonly at: number;
}

async function logOf(name: string): Promise<Recorded[]> {
  const path = fileURLToPath(new URL(`../simulated/${name}.jsonl.gz`, import.meta.url));
  const log: Recorded[] = [];
  for await (const record of readLogFile(path)) {
    const event = liftRecord(record);
    if (event !== undefined) log.push(event);
  }
  return log;
}

/** By VM, its runs one after the other. */
function runsOf(events: readonly { type: string; data: object; at: number }[]): Map<string, Step[]> {
  const runs = new Map<string, { vmId: string; steps: Step[] }>();
  for (const { type, data, at } of events) {
    const { runId, vmId } = data as { runId?: string; vmId?: string };
    if (runId === undefined || ![...ORDERED, ...COUNTED].includes(type)) continue;
    const run = runs.get(runId) ?? { vmId: vmId ?? '', steps: [] };
    runs.set(runId, run);
    run.steps.push({ type, at });
  }
  const byVm = Map.groupBy(runs.values(), ({ vmId }) => vmId);
  return new Map(
    [...byVm].flatMap(([vmId, of]) => of.map(({ steps }, index) => [`${vmId} ${index + 1}`, steps] as const)),
  );
}

const told = (steps: readonly Step[]) => ({
  order: steps.map(({ type }) => type).filter((type) => ORDERED.includes(type)),
  counts: COUNTED.map((type) => `${type} ${steps.filter((step) => step.type === type).length}`),
});
const secondsOf = (steps: readonly Step[]): number => ((steps.at(-1)?.at ?? 0) - (steps[0]?.at ?? 0)) / 1000;

test.each([
  ['fulls-share-proxies', 2],
  ['incrementals-and-refusals', 4],
])('%s: each backup takes the same steps in the same order', async (name, backups) => {
  const log = await logOf(name);
  const history = new History();
  for (const event of log) history.take(event);
  const question = readQuestion({});
  const source = question.ok ? history.source(question.value, {}) : question;
  if (!source.ok) throw new Error(source.refusal.message);
  const [workload] = source.value.workloads('as-it-was');
  if (workload === undefined) throw new Error('The log has a host');

  const simulated = runsOf(simulatedStory(source.value, workload));
  const recorded = runsOf(
    log
      .filter(({ category }) => category === 'host')
      .map(({ type, data, recordedAt }) => ({ type, data, at: Date.parse(recordedAt) })),
  );
  expect(recorded.size).toBe(backups);
  expect([...simulated.keys()].sort()).toEqual([...recorded.keys()].sort());
  for (const [run, steps] of simulated) {
    const real = recorded.get(run) ?? [];
    expect({ run, ...told(steps) }).toEqual({ run, ...told(real) });
    const ratio = secondsOf(steps) / secondsOf(real);
    expect(ratio).toBeGreaterThan(1 / TIMES_APART);
    expect(ratio).toBeLessThan(TIMES_APART);
  }
});
