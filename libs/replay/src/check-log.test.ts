/** What is planted in a log is found and named: a decision changed, left out, put in, or made of nothing. */
import type { StoredRecord } from '@backhaul/contracts';
import { planOf, recoveryPlanOf } from '@backhaul/pool/testing';
import { beforeEach, describe, expect, test } from 'vitest';
import { checkLog } from './check-log.ts';
import { RecordedPool } from './recorded-pool.fixture.ts';

/** Two backups and a recovery that share proxies: a proxy is lost on the way, everything is given back in the end. */
function recordedStory(): StoredRecord[] {
  const pool = new RecordedPool();
  pool.command({ type: 'RegisterHost', kind: 'directory', address: '/images' });
  pool.request(planOf('web-1', [3, 1], 2));
  pool.request(planOf('web-2', [2], 1));
  pool.run();
  pool.request(recoveryPlanOf('web-3', [2], 2));
  pool.run();
  pool.observe({ dead: true });
  pool.run();
  for (let pass = 0; pass < 30 && pool.pool.runs.size > 0; pass += 1) {
    for (const run of [...pool.pool.runs.values()]) {
      for (const job of run.jobs.values()) if (job.lease) pool.finishJob(job.childJobId, pass > 0);
      if ([...run.jobs.values()].every(({ state }) => state === 'done'))
        pool.command({ type: 'EndRun', runId: run.order.runId, outcome: 'completed' });
    }
    pool.observe();
    pool.run();
  }
  pool.now += 120_000;
  pool.run();
  return pool.log;
}

let log: StoredRecord[];
beforeEach(() => {
  log = recordedStory();
});

type Data = Record<string, never> & { proxies: { proxyId: string }[]; ports: { port: number }[] };

/** Changes the first event of a type that fits. */
function plant(
  type: string,
  change: (data: Data) => void,
  fits: (record: StoredRecord) => boolean = () => true,
) {
  const at = log.findIndex((record) => record.type === type && fits(record));
  const planted = structuredClone(log[at]) as StoredRecord;
  change(planted.data as Data);
  log[at] = planted;
  return planted;
}
const found = () => {
  const { differences } = checkLog(log);
  return differences[0];
};

test('a log that nobody touched is derived as it is recorded', () => {
  const { differences, tallies } = checkLog(log);
  expect(differences).toEqual([]);
  for (const kind of ['look', 'news', 'confirmation', 'drift'] as const)
    expect(tallies[kind].checked).toBeGreaterThan(0);
  expect(log.at(-1)?.type).toBe('ProxyDeactivated');
});

test('a proxy that was not given up, because disks on it did not answer, is derived so', () => {
  const pool = new RecordedPool();
  pool.command({ type: 'RegisterHost', kind: 'directory', address: '/images' });
  const [slow, other] = [planOf('slow', [1], 1, { maxAttemptsPerChildJob: 9 }), planOf('other', [1], 1)];
  for (const plan of [slow, other]) {
    pool.request(plan);
    pool.run();
  }
  for (let round = 0; round < 4; round += 1) {
    pool.finishJob(`${slow.backupId}.d0.0`, false);
    pool.observe({ disk: (runId) => (runId === slow.backupId ? 'silent' : 'alive') });
    pool.run();
  }
  expect(pool.log.filter(({ type }) => type === 'ProxyHealthObserved').length).toBe(4);
  expect(checkLog(pool.log).differences).toEqual([]);
});

describe('a difference is found at its place', () => {
  test('a lease to another port', () => {
    const planted = plant('PortsLeased', ({ ports }) => {
      const [first] = ports;
      if (first !== undefined) first.port = 3;
    });
    expect(found()).toMatchObject({
      kind: 'look',
      stream: 'host-lab',
      what: 'what the pool decides is another thing today',
      lines: ['PortsLeased data.ports[0].port: recorded 3, derived 0'],
    });
    expect(found()?.position).toBeLessThanOrEqual(planted.position);
  });

  test('a choice of fewer proxies', () => {
    plant('ProxiesChosen', ({ proxies }) => proxies.pop());
    expect(found()?.lines).toEqual([
      expect.stringMatching(/^ProxiesChosen data.proxies\[1\]: recorded nothing, derived \{"proxyId":"p2-/),
    ]);
  });

  test('a choice left out of its append', () => {
    const at = log.findIndex(({ type }) => type === 'ProxiesChosen');
    log.splice(at, 1);
    expect(found()).toMatchObject({
      kind: 'look',
      lines: [expect.stringMatching(/^only derived: {2}ProxiesChosen /)],
    });
  });

  test('a whole append left out', () => {
    const requested = log.findIndex(({ type }) => type === 'SnapshotTaken');
    const [taken] = log.splice(requested, 1);
    expect(found()).toMatchObject({ kind: 'hole', version: (taken?.version ?? 0) + 1 });
  });

  test('events put into another order', () => {
    const at = log.findIndex(({ type }, index) => type === 'PortsLeased' && log[index + 1]?.type === type);
    const [one, other] = [log[at], log[at + 1]] as [StoredRecord, StoredRecord];
    [log[at], log[at + 1]] = [
      { ...one, data: other.data },
      { ...other, data: one.data },
    ];
    expect(found()?.lines[0]).toBe('the same events in another order');
  });

  test('something confirmed that nobody asked for', () => {
    plant('DiskAttached', (data) => Object.assign(data, { diskId: 'd7' }));
    expect(found()).toMatchObject({
      kind: 'confirmation',
      what: 'something is confirmed that the pool had not asked for',
      lines: [expect.stringMatching(/^only recorded: DiskAttached .*"d7"/)],
    });
  });

  test('a lease released that the news did not name', () => {
    plant(
      'PortsReleased',
      (data) => Object.assign(data, { leaseId: 'another' }),
      (record) => {
        return !record.metadata.causation.startsWith('host-');
      },
    );
    expect(found()).toMatchObject({
      kind: 'news',
      lines: [expect.stringMatching(/leaseId: recorded "another", derived /)],
    });
  });

  test('a port leased to a second holder, in a log that does not say on what occasion', () => {
    const leases = log.filter(({ type }) => type === 'PortsLeased');
    const [one, other] = leases as [StoredRecord, StoredRecord];
    const at = log.indexOf(other);
    log[at] = { ...other, data: { ...(one.data as object), fence: 99, childJobId: 'another' } };
    log = log.map((record) =>
      record.stream === 'host-lab'
        ? { ...record, metadata: { ...record.metadata, causation: 'host-lab' } }
        : record,
    );
    const { differences, tallies } = checkLog(log);
    expect(differences[0]).toMatchObject({
      kind: 'hole',
      what: 'what is recorded cannot have happened',
      lines: [expect.stringMatching(/^Port \d of proxy .* was leased to another while .* held it/)],
    });
    expect(tallies.look.checked).toBe(0);
  });
});

describe('what cannot be derived is counted, and not passed in silence', () => {
  test('an append that was recorded before occasions were', () => {
    const at = log.findIndex(({ type }) => type === 'SnapshotTaken');
    const taken = log[at] as StoredRecord;
    log[at] = { ...taken, metadata: { ...taken.metadata, causation: 'host-lab' } };
    const { differences, tallies } = checkLog(log);
    expect(differences).toEqual([]);
    expect([...tallies.news.notCheckable]).toEqual([
      ['recorded before the log said on what occasion a pool decided', 1],
    ]);
  });

  test('an answer to news that the log does not have', () => {
    log = log.filter(({ type }) => type !== 'ProxiesCalculated');
    const { differences, tallies } = checkLog(log);
    expect(differences).toEqual([]);
    expect([...tallies.news.notCheckable]).toEqual([['the news that led to it is not in this log', 2]]);
  });

  test('an event of a later release', () => {
    const at = log.findIndex(({ type }) => type === 'ProxyIdle');
    log[at] = { ...(log[at] as StoredRecord), type: 'ProxyDreamt' };
    expect([...checkLog(log).unknownTypes]).toEqual([['ProxyDreamt', 1]]);
  });
});
