/** Who completes a backup and who cancels it race for one append: the first has it, whoever asks twice, and whatever was planned. */
import { type Event, type Recorded, streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cancelBackup } from './cancel-backup.ts';
import { end, transferStream } from './transfer.ts';

const at = '2026-01-01T00:00:00.000Z';
let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('ingest');
});
afterAll(() => server?.close());

const orderFor = (name: string): Recorded<'BackupCancelOrdered'> => {
  const backupId = derivedId('test', name);
  return {
    type: 'BackupCancelOrdered',
    data: { backupId, hostId: 'lab', vmId: 'web', cancelledBy: 'ops', reason: 'wrong VM', orderedAt: at },
    ...{ eventId: derivedId('order', name), position: 1, version: 2, schemaVersion: 1, recordedAt: at },
    ...{ stream: streamName('backup', backupId), category: 'backup' },
    metadata: { correlation: backupId, causation: 'test', actor: 'trigger' },
  };
};
const cancel = (order: Recorded<'BackupCancelOrdered'>) =>
  store.transaction((transaction) => cancelBackup(transaction, order));
const said = async ({ data }: Recorded<'BackupCancelOrdered'>): Promise<Event[]> =>
  await Array.fromAsync(store.readStream(transferStream(data.backupId)));

test('a backup that is cancelled has failed once, with who wanted that and why', async () => {
  const order = orderFor('once');
  await cancel(order);
  await cancel(order);
  expect(await said(order)).toMatchObject([
    {
      type: 'BackupFailed',
      data: {
        refusal: { code: 'BackupCancelled', message: 'The backup of vm web was cancelled by ops: wrong VM.' },
      },
      metadata: { correlation: order.data.backupId, causation: order.eventId, actor: 'ingest' },
    },
  ]);
});

test('one that has ended first stays as it is', async () => {
  const order = orderFor('ended first');
  const { backupId, hostId, vmId } = order.data;
  const refusal = { code: 'SnapshotFailed', message: 'The host has no room.' };
  await end(
    store,
    { type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt: at } },
    order.metadata,
  );
  await cancel(order);
  expect(await said(order)).toMatchObject([{ data: { refusal: { code: 'SnapshotFailed' } } }]);
});

test('one whose plan was refused has its end there', async () => {
  const order = orderFor('refused');
  const { backupId, hostId, vmId } = order.data;
  const planner = await server.store('planner');
  const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.' };
  await planner.append(
    [
      {
        stream: streamName('plan', backupId),
        expected: 'none',
        events: [{ type: 'PlanRefused', data: { backupId, hostId, vmId, refusal } }],
      },
    ],
    { commandId: 'refused', metadata: order.metadata },
  );
  await cancel(order);
  expect(await said(order)).toEqual([]);
});
