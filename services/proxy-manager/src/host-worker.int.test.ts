/** The worker at a host that does not do as it should, against a real log. */
import { defaultPolicy, type Plan } from '@backhaul/contracts';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { type HypervisorHost, openHost } from '@backhaul/hypervisor';
import { keptPools } from '@backhaul/kept-pools';
import { derivedId, eventually, GiB } from '@backhaul/kernel';
import { carryOut, hostStream } from '@backhaul/pool';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HostWorker } from './host-worker.ts';
import { Ledger } from './ledger.ts';

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());

const backupId = derivedId('test', 'stuck');
const childJobId = `${backupId}.vda.0`;
const plan: Plan = {
  ...{
    backupId,
    hostId: 'lab',
    vmId: 'vm1',
    parent: null,
    kind: 'full',
    mode: 'proxy-vm',
    modeReason: 'test',
    priority: 'normal',
    askedAt: null,
  },
  policy: { ...defaultPolicy, proxyIdleSeconds: 600 },
  disks: [
    {
      ...{ diskId: 'vda', sizeBytes: GiB, kind: 'full', kindReason: 'test' },
      ...{ bytesToRead: GiB, childJobs: 1 },
    },
  ],
  childJobs: [{ childJobId, diskId: 'vda', offset: 0, length: GiB, estimatedBytes: GiB }],
  arithmetic: {
    ...{ totalBytes: GiB, childJobBytes: GiB, childJobs: 1, maxChildJobsPerProxy: 4, maxPortsPerProxy: 4 },
    ...{ portsPerChildJob: 1, capacityPerProxy: 4, thresholdShare: 1 },
  },
  ...{ proxiesCalculated: 1, proxies: 1, expectedShared: 0, waves: 1, limitedBy: [], rejected: [] },
};

test('a proxy that answers every detachment with an error is given up with the reason, and its end gives the disk back', async () => {
  const store = await server.store('proxy-manager');
  const simulated = await openHost({
    hostId: 'lab',
    kind: 'simulated',
    address: '1',
    stateDirectory: '/nonexistent',
  });
  let asked = 0;
  const host: HypervisorHost = {
    ...simulated,
    async detachDisk() {
      asked += 1;
      throw new Error('the guest is stuck');
    },
  };
  const ledger = new Ledger('lab', keptPools({ store, log: pino({ level: 'silent' }) }));
  const worker = new HostWorker({ host, ledger, store, log: pino({ level: 'silent' }) });
  const stop = new AbortController();
  const working = worker.run(stop.signal);
  const news = async (command: Parameters<typeof carryOut>[1]): Promise<void> => {
    const at = new Date().toISOString();
    await ledger.decide(store, { kind: 'look', at: Date.now() }, (pool) => carryOut(pool, command, at));
    worker.wake();
  };
  const seen = async (type: string) =>
    await eventually(type, 60_000, async () => {
      const { events } = await store.readStreamPage(hostStream('lab'));
      return events.some((event) => event.type === type) ? events : undefined;
    });
  await news({ type: 'RequestActivation', plan, at: new Date().toISOString() });
  await seen('PortsLeased');
  await news({ type: 'EndRun', runId: backupId, outcome: 'completed' });
  const events = await seen('RunClosed');
  stop.abort();
  await working;

  const lost = events.find(({ type }) => type === 'ProxyLost');
  expect(lost?.data).toMatchObject({
    reason: expect.stringMatching(/does not let go of disk vda .*: the guest is stuck/),
  });
  const after = events.slice(events.indexOf(lost as never)).map(({ type }) => type);
  expect(after.filter((type) => ['DiskDetached', 'SnapshotReleased', 'RunClosed'].includes(type))).toEqual([
    ...['DiskDetached', 'SnapshotReleased', 'RunClosed'],
  ]);
  expect(asked).toBe(6);
  expect((await simulated.observe()).proxies).toEqual([]);
  await host.close();
}, 120_000);
