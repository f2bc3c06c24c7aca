import { CHUNK_BYTES, noHostPolicy, type Recorded } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { projected } from './projection.ts';
import { backups } from './projections/backups.ts';
import { childJobs } from './projections/child-jobs.ts';
import { deploymentPolicy } from './projections/deployment-policy.ts';
import { hostPolicies } from './projections/host-policies.ts';
import { hosts } from './projections/hosts.ts';
import { obligations } from './projections/obligations.ts';
import { policies } from './projections/policies.ts';
import { proxies } from './projections/proxies.ts';
import { shadowPlans } from './projections/shadow-plans.ts';
import { vms } from './projections/vms.ts';
import {
  backupIdOf,
  backupStory,
  limitsStory,
  recorded,
  shadowStory,
  sharedProxyStory,
  teller,
} from './testing/story.ts';

const MiB4 = CHUNK_BYTES;
const whole = recorded(backupStory({ name: 'b1' }));
const until = (type: string, events: readonly Recorded[] = whole): Recorded[] =>
  events.slice(0, events.findIndex((event) => event.type === type) + 1);

describe('backups', () => {
  const stateAfter = (type: string) => projected(backups, until(type))[0]?.state;

  test('a backup goes from triggered to completed, one state after the other', () => {
    expect(
      [
        'BackupTriggered',
        'ProxiesCalculated',
        'ActivationRequested',
        'ProxiesActivated',
        'BackupCompleted',
      ].map(stateAfter),
    ).toEqual(['triggered', 'planned', 'activating', 'transferring', 'completed']);
  });

  test('progress is the sum of the chunks that arrived', () => {
    expect(projected(backups, whole)).toEqual([
      expect.objectContaining({
        backupId: backupIdOf('b1'),
        bytesToRead: 16 * MiB4,
        readBytes: 16 * MiB4,
        receivedBytes: 16 * MiB4,
        zeroBytes: 4 * MiB4,
        storedBytes: 12_000,
        chunks: 16,
        newChunks: 12,
        childJobs: 4,
        childJobsDone: 4,
        proxies: 2,
        shortfall: 'the host allows 2',
        refusal: null,
      }),
    ]);
  });

  test('a request that could not be read is a refused backup, with what it named as far as it can be told', () => {
    const tell = teller('x');
    tell.append('backup', 'x', 'BackupRefused', {
      backupId: 'x',
      origin: { via: 'nats', requestId: 'r' },
      refusal: { code: 'Malformed', message: 'kind: must be full or incremental', wayOut: 'Leave it out.' },
      request: '{"host":"lab","vm":"web-1","kind":7}',
      refusedAt: '2026-01-01T00:00:00.000Z',
    });
    expect(projected(backups, recorded(tell.told))).toEqual([
      expect.objectContaining({
        state: 'refused',
        hostId: 'lab',
        vmId: 'web-1',
        refusal: expect.objectContaining({ wayOut: 'Leave it out.' }),
      }),
    ]);
  });

  test('the first end stands, whatever arrives after it', () => {
    const tell = teller(backupIdOf('b1'));
    tell.append('backup', backupIdOf('b1'), 'BackupCancelled', {
      backupId: backupIdOf('b1'),
      hostId: 'lab',
      vmId: 'web-1',
      cancelledBy: 'anna',
      reason: 'wrong VM',
    });
    const cancelled = [...until('ProxiesActivated'), ...recorded(tell.told, 1000)];
    const rest = whole.slice(until('ProxiesActivated').length).map((event) => ({ ...event, position: 2000 }));
    const [row] = projected(backups, [...cancelled, ...rest]);
    expect(row).toMatchObject({ state: 'cancelled', chunks: 16 });
    expect(row?.refusal?.message).toBe('Cancelled by anna: wrong VM');
    expect(projected(childJobs, cancelled).map((job) => job.state)).toEqual(Array(4).fill('abandoned'));
  });

  test('an event of a backup that was never asked for changes nothing', () => {
    expect(projected(backups, whole.slice(5))).toEqual([]);
  });
});

describe('VMs', () => {
  test('a VM shows who runs, who waits and the newest restore point', () => {
    const tell = teller('b2');
    const asked = whole.find((event) => event.type === 'BackupTriggered') as Recorded<'BackupTriggered'>;
    const { parent: _, ...request } = asked.data;
    const waiter = { hostId: 'lab', vmId: 'web-1', behind: backupIdOf('b1') };
    tell.append('vm', 'lab.web-1', 'VmAwaited', {
      ...waiter,
      runId: backupIdOf('b2'),
      asked: { purpose: 'backup', ...request, backupId: backupIdOf('b2') },
    });
    const waiting = [...until('ProxiesActivated'), ...recorded(tell.told, 500)];
    expect(projected(vms, waiting)).toEqual([
      expect.objectContaining({
        running: { purpose: 'backup', runId: backupIdOf('b1') },
        queued: [
          { purpose: 'backup', runId: backupIdOf('b2'), priority: 'normal', askedAt: request.requestedAt },
        ],
        lastOutcome: null,
      }),
    ]);
    expect(projected(vms, whole)).toEqual([
      expect.objectContaining({
        running: null,
        lastOutcome: 'completed',
        lastRestorePoint: expect.objectContaining({ backupId: backupIdOf('b1') }),
      }),
    ]);
  });
});

describe('child jobs', () => {
  test('an interrupted child job keeps what it received and shows what it did not read again', () => {
    const jobs = projected(childJobs, recorded(backupStory({ name: 'b1', interrupted: true })));
    expect(jobs[0]).toMatchObject({
      state: 'completed',
      attempt: 2,
      proxyId: 'b1-p2',
      interruptions: 1,
      receivedBytes: 4 * MiB4,
      resumedBytes: 2 * MiB4,
      chunks: 4,
      ports: [],
      leaseId: null,
    });
    expect(jobs[0]?.lastInterruption).toMatch(/connection reset/);
  });

  test('a running child job shows its proxy and its ports', () => {
    const [job] = projected(childJobs, until('ChildJobStarted'));
    expect(job).toMatchObject({ state: 'running', proxyId: 'b1-p1', ports: [0], wave: 1 });
  });
});

describe('proxies', () => {
  test('a leased port names its holder, and is free again after the release', () => {
    const held = projected(proxies, until('PortsLeased')).find((proxy) => proxy.proxyId === 'b1-p1');
    expect(held).toMatchObject({ state: 'active', freePorts: 0 });
    expect(held?.ports[0]?.heldBy).toBe(`${backupIdOf('b1')}.vda.0`);
    const freed = projected(proxies, until('PortsReleased')).find((proxy) => proxy.proxyId === 'b1-p1');
    expect(freed).toMatchObject({ freePorts: 1, leasesServed: 1 });
  });

  test('a late release of an old lease does not free the port of its next holder', () => {
    const events = until('PortsLeased');
    const lease = events.at(-1) as Recorded<'PortsLeased'>;
    const next = { ...lease, position: 900, data: { ...lease.data, leaseId: 'next', childJobId: 'other' } };
    const late = {
      ...lease,
      type: 'PortsReleased',
      position: 901,
      data: { ...lease.data, ports: [0], because: 'interrupted' },
    } as unknown as Recorded;
    const [proxy] = projected(proxies, [...events, next, late]).filter((row) => row.proxyId === 'b1-p1');
    expect(proxy?.ports[0]?.heldBy).toBe('other');
  });

  test('a proxy shows its attached disks until they are detached or it is gone', () => {
    const attached = projected(proxies, until('ProxiesActivated'));
    expect(attached.map((proxy) => proxy.attachments.map((disk) => disk.diskId))).toEqual([
      ['vda', 'vdb'],
      ['vda', 'vdb'],
    ]);
    expect(projected(proxies, whole).map((proxy) => [proxy.state, proxy.attachments])).toEqual([
      ['deactivated', []],
      ['deactivated', []],
    ]);
  });

  test("the host's own export stands in for proxies until its snapshot is released", () => {
    const tell = teller('d');
    tell.append('host', 'lab', 'DirectEndpointOpened', {
      hostId: 'lab',
      runId: 'd',
      proxyId: 'direct-d',
      ports: [{ port: 0, endpoint: 'nbd+unix:///?socket=/s' }],
      exports: { vda: 'd.vda' },
    });
    expect(projected(proxies, recorded(tell.told))[0]).toMatchObject({ kind: 'host-export', freePorts: 1 });
    tell.append('host', 'lab', 'SnapshotReleased', {
      hostId: 'lab',
      runId: 'd',
      vmId: 'web-1',
      checkpoints: 'committed',
    });
    expect(projected(proxies, recorded(tell.told))[0]).toMatchObject({ state: 'deactivated', ports: [] });
  });
});

describe('obligations', () => {
  test('a whole backup leaves no obligation open', () => {
    expect(projected(obligations, whole)).toEqual([]);
    expect(projected(obligations, recorded(backupStory({ name: 'b1', interrupted: true })))).toEqual([]);
  });

  test('what is open names the event that opened it and the one that will close it', () => {
    const open = projected(obligations, until('PortsLeased'));
    expect(open.map((row) => [row.kind, row.state, row.openedBy, row.closedBy])).toEqual([
      ['snapshot', 'standing', 'SnapshotRequested', 'SnapshotReleased'],
      ['proxy', 'standing', 'ProxyActivationRequested', 'ProxyDeactivated'],
      ['proxy', 'standing', 'ProxyActivationRequested', 'ProxyDeactivated'],
      ...Array(4).fill(['attachment', 'standing', 'DiskAttachRequested', 'DiskDetached']),
      ['lease', 'standing', 'PortsLeased', 'PortsReleased'],
    ]);
  });

  test('a proxy that was lost stays an obligation, with its attachments, until it is confirmed gone', () => {
    const story = recorded(backupStory({ name: 'b1', interrupted: true }));
    const lost = projected(obligations, until('ProxyLost', story)).filter((row) => row.proxyId === 'b1-p1');
    expect(lost.map((row) => [row.kind, row.state])).toEqual([
      ['proxy', 'lost'],
      ['attachment', 'standing'],
      ['attachment', 'standing'],
      ['lease', 'standing'],
    ]);
    const gone = projected(obligations, until('ProxyDeactivated', story)).filter(
      (row) => row.proxyId === 'b1-p1',
    );
    expect(gone).toEqual([]);
  });
});

test('hosts count their open runs and remember the last drift', () => {
  const tell = teller('x');
  tell.append('host', 'lab', 'DriftFound', {
    hostId: 'lab',
    what: 'proxy p9',
    expected: 'absent',
    found: 'running',
    repair: 'removed',
  });
  const events = [...recorded(sharedProxyStory()), ...until('ProxiesActivated'), ...recorded(tell.told, 900)];
  expect(projected(hosts, events)).toEqual([
    expect.objectContaining({
      kind: 'directory',
      openRuns: 1,
      drifts: 1,
      lastDrift: expect.objectContaining({ what: 'proxy p9', repair: 'removed' }),
    }),
  ]);
  expect(projected(hosts, whole)[0]?.openRuns).toBe(0);
  const costs = projected(proxies, whole).flatMap(({ cost }) => cost ?? []);
  expect(costs.length).toBeGreaterThan(0);
  expect(projected(hosts, whole)[0]?.proxyCost).toEqual({
    proxies: costs.length,
    upSeconds: 60.5 * costs.length,
    busyPortSeconds: 20.25 * costs.length,
  });
});

test('a host policy shows its newest definition, and which one the host has taken up', () => {
  expect(projected(hostPolicies, recorded(limitsStory()))).toEqual([
    expect.objectContaining({
      policy: { ...noHostPolicy, maxOpenSnapshots: 2 },
      revision: 2,
      adoptedRevision: 1,
    }),
  ]);
  expect(projected(deploymentPolicy, recorded(limitsStory()))).toEqual([
    expect.objectContaining({ policy: { bytesPerSecond: 1024 ** 3 } }),
  ]);
});

test('a shadow plan is told with the plan beside it, and whether it comes to something else', () => {
  expect(projected(shadowPlans, recorded(shadowStory()))).toEqual([
    expect.objectContaining({ runId: backupIdOf('s1'), policyId: 'candidate', state: 'same' }),
    expect.objectContaining({
      runId: backupIdOf('s2'),
      state: 'otherwise',
      live: expect.objectContaining({ mode: 'proxy-vm', proxies: 2 }),
      shadow: expect.objectContaining({ mode: 'direct-to-host', proxies: 0 }),
    }),
  ]);
});

test('a policy shows its newest definition', () => {
  const { policy } = (whole.find((event) => event.type === 'BackupTriggered') as Recorded<'BackupTriggered'>)
    .data;
  const tell = teller('p');
  for (const maxProxiesPerHost of [1, 2]) {
    tell.append('policy', 'default', 'PolicyDefined', {
      policy: { ...policy, maxProxiesPerHost },
      definedAt: '2026-01-01T00:00:00.000Z',
    });
  }
  expect(projected(policies, recorded(tell.told))).toEqual([
    expect.objectContaining({ definitions: 2, policy: expect.objectContaining({ maxProxiesPerHost: 2 }) }),
  ]);
});
