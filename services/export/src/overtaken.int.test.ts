/** Two leases of one data stream whose attempts meet: the newer goes on, whatever the older still does. */
import type { EventStore } from '@backhaul/event-store';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { confirmedOf, type ExportLab, never, openExportLab, PIECES, portOf } from './export-lab.fixture.ts';
import { leased, leaseOf, SIZE, targetDisk } from './recovery.fixture.ts';
import { giveUpExportJob, runExportJob } from './run-export-job.ts';

let lab: ExportLab;
beforeAll(async () => {
  lab = await openExportLab();
});
afterAll(() => lab?.close());

test('an attempt that was overtaken confirms nothing any more', async () => {
  const plan = await lab.planned('overtaken');
  // The first is to be cut by the second, and neither by time on a machine that is busy.
  const patient = { ...lab.parts, requestMilliseconds: 60_000 };
  const attempt = async (fence: number, uri: string) =>
    await runExportJob(patient, leased(leaseOf(plan, 0, fence, [uri])), never);
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const slow = targetDisk(SIZE, ({ write }) => ({
    async write(offset, data) {
      reached.resolve();
      await gate.promise;
      await write?.(offset, data);
    },
  }));
  const late = attempt(1, await portOf(slow));
  await reached.promise;
  await attempt(2, await portOf(targetDisk(SIZE)));
  gate.resolve();
  // A newer lease went on: the message of this one is done with.
  expect(await late).toBe(undefined);
  const events = await lab.story(plan);
  expect(confirmedOf(events).map(({ leaseId }) => leaseId)).toEqual(PIECES.map(() => 'lease-2'));
  expect(events.at(-1)).toMatchObject({ type: 'ExportJobCompleted', data: { leaseId: 'lease-2' } });
  await attempt(1, 'nbd+unix:///vda?socket=/nonexistent');
  expect(await lab.story(plan)).toHaveLength(events.length);
});

test('an attempt that another one of the same lease overtook leaves the lease to it, also when its own port fails', async () => {
  const plan = await lab.planned('same lease');
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const reached = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const attempt = async (index: number, write: 'goes on' | 'fails') => {
    const target = targetDisk(SIZE, (memory) => ({
      async write(offset, data) {
        reached[index]?.resolve();
        await gates[index]?.promise;
        if (write === 'fails') throw new Error('the port has gone');
        await memory.write?.(offset, data);
      },
    }));
    const lease = leased(leaseOf(plan, 0, 1, [await portOf(target)]));
    return await runExportJob({ ...lab.parts, requestMilliseconds: 60_000 }, lease, never);
  };
  const first = attempt(0, 'fails');
  await reached[0]?.promise;
  const second = attempt(1, 'goes on');
  await reached[1]?.promise;
  gates[0]?.resolve();
  expect(await first).toBe('overtaken');
  expect((await lab.story(plan)).map(({ type }) => type)).toEqual(['ExportJobStarted', 'ExportJobStarted']);
  gates[1]?.resolve();
  expect(await second).toBe(undefined);
  expect((await lab.story(plan)).at(-1)).toMatchObject({ type: 'ExportJobCompleted' });
});

test('the last word of the attempt before, said while the next one begins, does not stop it', async () => {
  const plan = await lab.planned('last word');
  const before = leased(leaseOf(plan, 0, 1, ['nbd+unix:///vda?socket=/nonexistent']));
  const between = async (): Promise<void> =>
    await giveUpExportJob(lab.parts, before, new Error('its proxy has gone'));
  const store = storeWithNewsBetween(lab.parts.store, between);
  const uri = await portOf(targetDisk(SIZE));
  await runExportJob({ ...lab.parts, store }, leased(leaseOf(plan, 0, 2, [uri])), never);
  const ends = (await lab.story(plan)).filter(({ type }) => type !== 'ChunkExported');
  expect(ends).toMatchObject([
    { type: 'ExportJobInterrupted', data: { leaseId: 'lease-1' } },
    { type: 'ExportJobStarted', data: { leaseId: 'lease-2' } },
    { type: 'ExportJobCompleted', data: { leaseId: 'lease-2' } },
  ]);
});

/** Somebody else appends after what the first append builds on was read. */
function storeWithNewsBetween(store: EventStore, news: () => Promise<void>): EventStore {
  let told = false;
  return {
    ...{ readStream: store.readStream.bind(store), readStreamPage: store.readStreamPage.bind(store) },
    async append(...args: Parameters<EventStore['append']>) {
      if (!told) {
        told = true;
        await news();
      }
      return await store.append(...args);
    },
  } as EventStore;
}
