/** Data streams against a real log, a real repository and real NBD servers. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Event, type EventData, type RecoveryPlan, streamName } from '@backhaul/contracts';
import { openTestStore } from '@backhaul/event-store/testing';
import { derivedId, MiB } from '@backhaul/kernel';
import { serveNbd } from '@backhaul/nbd';
import { openRepository } from '@backhaul/repository';
import { unlimited } from '@backhaul/service';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { exportJobStream } from './export-job.ts';
import { CHUNK, recoveryPlan, sampleRestorePoint, type Target } from './recovery.fixture.ts';
import type { ExportParts } from './run-export-job.ts';

export const never = new AbortController().signal;

/** Where the data of the sample begins, piece by piece. */
export const PIECES = [0, 2 * CHUNK, 3 * CHUNK, 3 * CHUNK + 3 * MiB, 4 * CHUNK];

export const ofChunks = (...counts: readonly number[]) => {
  let offset = 0;
  return counts.map((count) => {
    const portion = { offset, length: count * CHUNK };
    offset += portion.length;
    return portion;
  });
};

export type ExportLab = Awaited<ReturnType<typeof openExportLab>>;

export async function openExportLab() {
  const directory = await mkdtemp(join(tmpdir(), 'bh-export-'));
  const server = await openTestStore();
  const planner = await server.store('planner');
  const store = await server.store('export');
  const repository = await openRepository({ location: join(directory, 'repository'), workers: 1 });
  const sample = await sampleRestorePoint(repository);
  const parts: ExportParts = {
    ...{ store, repository, requestMilliseconds: 2_000, rates: unlimited, log: pino({ level: 'silent' }) },
  };
  return {
    ...sample,
    ...{ parts, repository },

    /** A recovery of the restore point that the planner has planned. */
    async planned(
      name: string,
      portions = ofChunks(5),
      of: Partial<typeof sample.restorePoint> & { verify?: boolean } = {},
    ): Promise<RecoveryPlan> {
      const recoveryId = derivedId('test', name);
      const plan = recoveryPlan(recoveryId, { ...sample.restorePoint, ...of }, portions);
      const appended = await planner.append(
        [
          {
            stream: streamName('plan', recoveryId),
            expected: 'none',
            events: [{ type: 'RecoveryProxiesCalculated', data: plan }],
          },
        ],
        { commandId: name, metadata: { correlation: recoveryId, causation: 'test', actor: 'planner' } },
      );
      if (!appended.ok) throw new Error(appended.refusal.message);
      return plan;
    },

    story: async (plan: RecoveryPlan, index = 0): Promise<Event[]> =>
      await Array.fromAsync(
        store.readStream(exportJobStream(plan.childJobs[index]?.childJobId ?? '')),
        ({ type, data }) => ({ type, data }) as Event,
      ),

    async close(): Promise<void> {
      await repository.close();
      await server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Serves the disk as the one port of a proxy, until the test ends. */
export async function portOf(target: Target): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bh-port-'));
  const served = await serveNbd({
    exports: [target],
    listen: { kind: 'unix', socketPath: join(folder, 's') },
    log: () => undefined,
  });
  onTestFinished(async () => {
    await served.close();
    await rm(folder, { recursive: true });
  });
  return served.uri.replace('///', '///vda');
}

export const confirmedOf = (events: readonly Event[]): EventData<'ChunkExported'>[] =>
  events.flatMap((event) => (event.type === 'ChunkExported' ? [event.data] : []));
export const offsetsOf = (events: readonly Event[]): number[] =>
  confirmedOf(events)
    .map(({ offset }) => offset)
    .sort((a, b) => a - b);
