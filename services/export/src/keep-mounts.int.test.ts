/** Who serves mounts, against a real log, a real repository and NBD clients, through the loss of charge and log. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Event } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId, eventually, KiB } from '@backhaul/kernel';
import { connectNbd, type NbdClient } from '@backhaul/nbd';
import { ChunkCache, openRepository, type Repository } from '@backhaul/repository';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { MountKeeper } from './keep-mounts.ts';
import { closed, decideMount, ending, type MountOrder, mountStream, requested } from './mount.ts';
import { sampleRestorePoint } from './recovery.fixture.ts';

const HAND_OVER_MILLISECONDS = 300;

let directory: string;
let server: TestStore;
let store: EventStore;
let repository: Repository;
let restorePoint: Awaited<ReturnType<typeof sampleRestorePoint>>['restorePoint'];
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-mounts-'));
  server = await openTestStore({ keep: true });
  store = await server.store('export');
  repository = await openRepository({ location: join(directory, 'repository'), workers: 1 });
  ({ restorePoint } = await sampleRestorePoint(repository));
});
afterAll(async () => {
  await repository?.close();
  await server?.close();
  await rm(directory, { recursive: true, force: true });
});

const orderOf = (name: string): MountOrder => {
  const { backupId, manifestDigest } = restorePoint;
  return {
    recoveryId: derivedId('mount', name),
    hostId: 'lab',
    vmId: 'web-1',
    backupId,
    manifestDigest,
    disks: ['vda'],
  };
};

const decide = (what: string, { recoveryId }: MountOrder, decision: Parameters<typeof decideMount>[3]) =>
  decideMount(
    store,
    recoveryId,
    {
      commandId: `${what} ${recoveryId}`,
      metadata: { correlation: recoveryId, causation: what, actor: 'export' },
    },
    decision,
  );

const storyOf = async ({ recoveryId }: MountOrder): Promise<Event['type'][]> =>
  await Array.fromAsync(store.readStream(mountStream(recoveryId)), ({ type }) => type);

function keeperOf(log = store) {
  const keeper = new MountKeeper({
    ...{ store: log, repository, cache: new ChunkCache({ repository }), folder: join(directory, 'm') },
    ...{ log: pino({ level: 'silent' }), handOverMilliseconds: HAND_OVER_MILLISECONDS },
  });
  onTestFinished(() => keeper.close());
  return {
    keeper,
    /** In charge until it is called. */
    inCharge(): () => Promise<void> {
      const charge = new AbortController();
      const running = keeper.run(charge.signal);
      return async () => {
        charge.abort();
        await running.catch(() => undefined);
      };
    },
  };
}

const uriOf = ({ recoveryId }: MountOrder): string =>
  `nbd+unix:///vda?socket=${join(directory, 'm', `${recoveryId}.sock`)}`;

async function guestOf(order: MountOrder): Promise<NbdClient> {
  const guest = await connectNbd({ uri: uriOf(order) });
  onTestFinished(() => guest.close());
  return guest;
}

/** Whether a guest could connect and read now. */
async function isServed(order: MountOrder): Promise<boolean> {
  const uri = uriOf(order);
  const client = await connectNbd({ uri, connectMilliseconds: 2_000 }).catch(() => undefined);
  if (client === undefined) return false;
  const read = client.read(0, 4 * KiB, new Uint8Array(4 * KiB)).then(
    () => true,
    () => false,
  );
  return await read.finally(() => client.close());
}
const served = (order: MountOrder) =>
  eventually('the mount being served', 10_000, async () => ((await isServed(order)) ? true : undefined));
const gone = (order: MountOrder) =>
  eventually('the mount being gone', 10_000, async () => ((await isServed(order)) ? undefined : true));

test('who loses the charge for a moment serves on, and opens nothing twice', async () => {
  const order = orderOf('for a moment');
  await decide('ask', order, (mount) => requested(mount, order));
  const one = keeperOf();
  const lose = one.inCharge();
  await served(order);
  const guest = await guestOf(order);
  await lose();
  await guest.read(0, 4 * KiB, new Uint8Array(4 * KiB));
  const end = one.inCharge();
  await guest.read(4 * KiB, 4 * KiB, new Uint8Array(4 * KiB));
  await decide('end', order, (mount) => ending(mount, order));
  one.keeper.wake(order.recoveryId);
  await gone(order);
  await eventually('the end being told', 10_000, async () =>
    (await storyOf(order)).length === 4 ? true : undefined,
  );
  expect(await storyOf(order)).toEqual(['MountRequested', 'MountOpened', 'MountEnding', 'MountClosed']);
  await end();
});

test('another instance that has the charge is given the place', async () => {
  const order = orderOf('another');
  await decide('ask', order, (mount) => requested(mount, order));
  const [one, other] = [keeperOf(), keeperOf()];
  const lose = one.inCharge();
  await served(order);
  const guest = await guestOf(order);
  await lose();
  const end = other.inCharge();
  await eventually('the first instance letting go', 10_000, () =>
    guest.read(0, 4 * KiB, new Uint8Array(4 * KiB)).then(
      () => undefined,
      () => true,
    ),
  );
  await served(order);
  expect(await storyOf(order)).toEqual(['MountRequested', 'MountOpened']);
  await end();
  await other.keeper.close();
  expect(await isServed(order)).toBe(false);
});

test('what ended while another instance had the charge is served here no more', async () => {
  const order = orderOf('ended elsewhere');
  await decide('ask', order, (mount) => requested(mount, order));
  const one = keeperOf();
  const lose = one.inCharge();
  await served(order);
  await lose();
  await decide('end', order, (mount) => ending(mount, order));
  await decide('close', order, (mount) => closed(mount, order));
  const end = one.inCharge();
  await gone(order);
  await end();
});

test('with the charge lost for good it is left after a while, and with the log gone it is not', async () => {
  const order = orderOf('for good');
  await decide('ask', order, (mount) => requested(mount, order));
  const one = keeperOf();
  const lose = one.inCharge();
  await served(order);
  await lose();
  await gone(order);

  const log = await server.store('export');
  let failedLooks = 0;
  const readLog: EventStore['readLog'] = (...asked) =>
    log.readLog(...asked).catch((error: unknown) => {
      failedLooks += 1;
      throw error;
    });
  const two = keeperOf({ ...log, readLog });
  const away = two.inCharge();
  await served(order);
  await server.server.stop();
  await away();
  // Between two looks as much time passes as it takes to hand over where the log is there.
  await eventually('looks at a log that is gone', 60_000, () => (failedLooks >= 5 ? true : undefined));
  expect(await isServed(order)).toBe(true);
  await two.keeper.close();
  expect(await isServed(order)).toBe(false);
});
