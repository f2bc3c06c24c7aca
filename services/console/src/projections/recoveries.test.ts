import { CHUNK_BYTES, type Recorded } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { projected } from '../projection.ts';
import { backupIdOf, backupStory, recorded, recoveryStory, teller } from '../testing/story.ts';
import { backups } from './backups.ts';
import { childJobs } from './child-jobs.ts';
import { dataStreams } from './data-streams.ts';
import { hosts } from './hosts.ts';
import { obligations } from './obligations.ts';
import { proxies } from './proxies.ts';
import { recoveries } from './recoveries.ts';
import { vms } from './vms.ts';

const MiB4 = CHUNK_BYTES;
const id = backupIdOf('r1');
const whole = recorded(recoveryStory({ name: 'r1', backup: 'b1' }));
const until = (type: string, events: readonly Recorded[] = whole): Recorded[] =>
  events.slice(0, events.findIndex((event) => event.type === type) + 1);

describe('recoveries', () => {
  test('a recovery goes from triggered to completed, one state after the other', () => {
    const stateAfter = (type: string) => projected(recoveries, until(type))[0]?.state;
    expect(
      [
        'RecoveryTriggered',
        'RecoveryProxiesCalculated',
        'ActivationRequested',
        'ProxiesActivated',
        'DataExported',
        'RecoveryCompleted',
      ].map(stateAfter),
    ).toEqual(['triggered', 'planned', 'activating', 'exporting', 'defining', 'completed']);
  });

  test('shows what is recovered, to where, and what was written and compared', () => {
    expect(projected(recoveries, whole)).toEqual([
      expect.objectContaining({
        recoveryId: id,
        backupId: backupIdOf('b1'),
        sourceVmId: 'web-1',
        vmId: 'web-2',
        mode: 'proxy-vm',
        proxiesCalculated: 2,
        bytesToWrite: 6 * MiB4,
        writtenBytes: 6 * MiB4,
        zeroBytes: 2 * MiB4,
        verifiedBytes: 2 * MiB4,
        chunks: 6,
        dataStreams: 2,
        dataStreamsDone: 2,
        started: true,
        notStarted: null,
        refusal: null,
        closedAt: expect.any(String),
      }),
    ]);
  });

  test('a data stream that says a second time that it is done, under a newer lease, is counted once', () => {
    const twice = whole.flatMap((event): Recorded[] =>
      event.type === 'ExportJobCompleted' ? [event, event] : [event],
    );
    const [once] = projected(recoveries, whole);
    expect(projected(recoveries, twice)).toEqual([once]);
    expect(projected(recoveries, until('DataExported', twice))[0]?.dataStreamsDone).toBe(2);
    expect(
      projected(
        recoveries,
        twice.slice(
          0,
          twice.findIndex(({ type }) => type === 'DataExported'),
        ),
      ),
    ).toEqual([expect.objectContaining({ dataStreamsDone: 2, state: 'exporting' })]);
  });

  test('a VM that should run and does not is a completed recovery that says why', () => {
    const [row] = projected(
      recoveries,
      recorded(recoveryStory({ name: 'r1', backup: 'b1', end: 'does not start' })),
    );
    expect(row).toMatchObject({ state: 'completed', started: false, notStarted: 'no kernel was found' });
  });

  test('a damaged restore point ends it with the refusal and the older one that is whole', () => {
    const events = recorded(recoveryStory({ name: 'r1', backup: 'b1', end: 'damaged' }));
    expect(projected(recoveries, events)[0]).toMatchObject({
      state: 'failed',
      interruptions: 1,
      refusal: { code: 'ChunkDamaged' },
      alternative: { backupId: backupIdOf('older') },
    });
    expect(projected(dataStreams, events).map((stream) => stream.state)).toEqual(['completed', 'abandoned']);
  });

  test('a request that could not be read is a refused recovery, with what it named as far as it can be told', () => {
    const tell = teller('x');
    tell.append('recovery', 'x', 'RecoveryRefused', {
      recoveryId: 'x',
      origin: { via: 'http', requestId: 'r' },
      refusal: { code: 'UnknownBackup', message: 'There is no backup b9.' },
      request: '{"backup":"b9","host":"lab","vm":"web-2"}',
      refusedAt: '2026-01-01T00:00:00.000Z',
    });
    expect(projected(recoveries, recorded(tell.told))).toEqual([
      expect.objectContaining({ state: 'refused', backupId: 'b9', hostId: 'lab', vmId: 'web-2' }),
    ]);
  });

  test('backups and their child jobs are not changed by the recovery of one, nor recoveries by backups', () => {
    const backup = recorded(backupStory({ name: 'b1' }));
    const later = whole.map((event) => ({ ...event, position: event.position + 1000 }));
    for (const projection of [backups, childJobs])
      expect(projected(projection as typeof backups, [...backup, ...later])).toEqual(
        projected(projection as typeof backups, backup),
      );
    expect(projected(recoveries, backup)).toEqual([]);
    expect(projected(dataStreams, backup)).toEqual([]);
  });
});

test('an interrupted data stream keeps what it wrote and shows what it did not write again', () => {
  const [stream] = projected(
    dataStreams,
    recorded(recoveryStory({ name: 'r1', backup: 'b1', interrupted: true })),
  );
  expect(stream).toMatchObject({
    state: 'completed',
    attempt: 2,
    interruptions: 1,
    writtenBytes: 3 * MiB4,
    resumedBytes: MiB4,
    lastInterruption: expect.stringMatching(/connection reset/),
    leaseId: null,
    ports: [],
  });
});

test('a port shows that a data stream holds it, and is free again after the release', () => {
  const holder = (type: string) => projected(proxies, until(type))[0]?.ports[0];
  expect(holder('PortsLeased')).toMatchObject({ heldBy: `${id}.vda.0`, purpose: 'recovery' });
  expect(holder('PortsReleased')).toMatchObject({ heldBy: null, purpose: null });
});

test("the host's own export of disks to be is gone when they are a VM, lost when nobody serves them", () => {
  const tell = teller('d');
  const run = { hostId: 'lab', runId: 'd' };
  const open = (): void =>
    tell.append('host', 'lab', 'DirectEndpointOpened', {
      ...run,
      proxyId: 'direct-d',
      ports: [{ port: 0, endpoint: 'nbd+unix:///?socket=/s' }],
      exports: { vda: 'd.vda' },
    });
  open();
  tell.append('host', 'lab', 'TargetLost', { ...run, reason: 'its process ended' });
  expect(projected(proxies, recorded(tell.told))[0]).toMatchObject({ state: 'lost', ports: [] });
  open();
  tell.append('host', 'lab', 'TargetKept', { ...run, vmId: 'web-2', started: false, notStarted: null });
  expect(projected(proxies, recorded(tell.told))[0]).toMatchObject({
    state: 'deactivated',
    reason: 'Its disks are a VM now',
  });
});

describe('obligations', () => {
  test('a target stands until it is a VM or nothing', () => {
    const targets = (events: readonly Recorded[]) =>
      projected(obligations, events)
        .filter((row) => row.kind === 'target')
        .map((row) => [row.state, row.runId]);
    expect(targets(until('TargetRequested'))).toEqual([['requested', id]]);
    expect(targets(until('PortsLeased'))).toEqual([['standing', id]]);
    expect(targets(until('TargetKept'))).toEqual([]);
    const damaged = recorded(recoveryStory({ name: 'r1', backup: 'b1', end: 'damaged' }));
    expect(targets(until('RecoveryFailed', damaged))).toEqual([['standing', id]]);
    expect(targets(until('TargetDiscarded', damaged))).toEqual([]);
  });

  test('attachments and leases of a recovery are owed too, and a whole recovery leaves nothing open', () => {
    expect(projected(obligations, until('PortsLeased')).map((row) => row.kind)).toEqual([
      'target',
      'proxy',
      'proxy',
      'attachment',
      'attachment',
      'lease',
    ]);
    expect(projected(obligations, whole)).toEqual([]);
  });
});

describe('the turn at a VM', () => {
  const turns = (events: readonly Recorded[]) =>
    projected(vms, events).map(({ running, queued, lastBackupId }) => ({ running, queued, lastBackupId }));

  test('may be held by a recovery, while a backup waits', () => {
    const backup = recorded(backupStory({ name: 'b2', vmId: 'web-2' }));
    const triggered = backup.find((event) => event.type === 'BackupTriggered') as Recorded<'BackupTriggered'>;
    const { parent: _, ...asked } = triggered.data;
    const tell = teller('b2');
    tell.append('vm', 'lab.web-2', 'VmAwaited', {
      hostId: 'lab',
      vmId: 'web-2',
      runId: asked.backupId,
      behind: id,
      asked: { purpose: 'backup', ...asked },
    });
    expect(turns([...until('ProxiesActivated'), ...recorded(tell.told, 500)])).toEqual([
      {
        running: { purpose: 'recovery', runId: id },
        queued: [
          {
            ...{ purpose: 'backup', runId: asked.backupId },
            ...{ priority: 'normal', askedAt: asked.requestedAt },
          },
        ],
        lastBackupId: null,
      },
    ]);
  });

  test('is known to be a recovery that waited from the moment it claims it', () => {
    const triggered = whole.find(({ type }) => type === 'RecoveryTriggered') as Recorded<'RecoveryTriggered'>;
    const turn = { hostId: 'lab', vmId: 'web-2', runId: id };
    const tell = teller(id);
    tell.append('vm', 'lab.web-2', 'VmAwaited', {
      ...turn,
      behind: backupIdOf('b2'),
      asked: { purpose: 'recovery', ...triggered.data },
    });
    tell.append('vm', 'lab.web-2', 'VmClaimed', turn);
    expect(turns(recorded(tell.told))).toEqual([
      { running: { purpose: 'recovery', runId: id }, queued: [], lastBackupId: null },
    ]);
  });

  test('ends with a recovery, which is no backup of the VM', () => {
    expect(turns(whole)).toEqual([{ running: null, queued: [], lastBackupId: null }]);
  });
});

test('a host counts recoveries among its open runs', () => {
  expect(projected(hosts, until('ActivationRequested'))[0]?.openRuns).toBe(1);
  expect(projected(hosts, whole)[0]?.openRuns).toBe(0);
});
