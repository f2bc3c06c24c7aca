/** Proxies that are there before their backup, stay as long as the host's policy says, are replaced in time, and are paid for: by real parts. */
import type { EventType, Recorded } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeImage, writeRandom } from './disk-image.ts';
import { HOST, type Lab, openLab } from './lab.ts';
import { everythingWasGivenBack, ofType, portsWereExclusive } from './log-checks.ts';

/** Policies count within seconds: a look of the scheduler or of the host's worker, and the way of the news. */
const EFFECTIVE_MILLISECONDS = 8_000;

let lab: Lab;

beforeAll(async () => {
  lab = await openLab();
  await makeImage(lab.image('web.qcow2'), 64 * MiB);
  await writeRandom(lab.image('web.qcow2'), 0, 64 * MiB);
  await makeImage(lab.image('db.qcow2'), 32 * MiB);
  await writeRandom(lab.image('db.qcow2'), 0, 16 * MiB);
  await lab.definePolicy('proxies', {
    childJobBytes: 16 * MiB,
    maxPortsPerProxy: 2,
    maxChildJobsPerProxy: 2,
    mode: 'proxy-vm',
    proxyIdleSeconds: 3600,
  });
});
afterAll(() => lab?.close());

const allOf = async <T extends EventType>(type: T): Promise<Recorded<T>[]> => {
  const { events } = await lab.log.readLog(0, { types: [type] });
  return ofType(events, type);
};
const backedUp = async (vm: string): Promise<Recorded[]> => {
  const backupId = await lab.backup(vm, { policy: 'proxies', kind: 'full' });
  expect(await lab.ended(backupId)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  return await lab.story(backupId);
};
const goneProxies = (count: number, milliseconds: number): Promise<Recorded<'ProxyDeactivated'>[]> =>
  eventually(`${count} proxies that are gone`, milliseconds, async () => {
    const gone = await allOf('ProxyDeactivated');
    return gone.length >= count ? gone : undefined;
  });

test('proxies idle for as long as the policy of the host says by now, whatever the backup that started them said', async () => {
  const story = await backedUp('web');
  expect(ofType(story, 'ProxiesChosen')[0]?.data.proxies).toHaveLength(2);
  await lab.changeHostPolicy({ proxyIdleSeconds: 1 });
  const gone = await goneProxies(2, EFFECTIVE_MILLISECONDS);
  expect(gone.map(({ data }) => data.reason)).toEqual(['idle for 1 seconds', 'idle for 1 seconds']);
});

test('before a schedule comes due its proxies are started, and its backup shares them', async () => {
  await lab.changeHostPolicy({ preStartMinutes: 5 });
  const due = new Date(Date.now() + 20_000);
  const cron = `${due.getUTCSeconds()} ${due.getUTCMinutes()} ${due.getUTCHours()} * * *`;
  const schedule = { scheduleId: 'nightly', cron, host: HOST, vm: 'web', kind: 'full', policy: 'proxies' };
  expect(await lab.ask('ScheduleRequested', schedule)).toMatchObject({ outcome: 'accepted' });

  const [approaching] = await eventually('the announcement', EFFECTIVE_MILLISECONDS, async () => {
    const told = await allOf('ScheduleApproaching');
    return told.length > 0 ? told : undefined;
  });
  const { backupId, dueAt } = approaching?.data ?? { backupId: '', dueAt: '' };
  await lab.until(backupId, 'ProxyActivated', 2);
  expect(Date.now(), 'they are up before it is due').toBeLessThan(Date.parse(dueAt));
  expect(await lab.ended(backupId, 60_000)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);

  const story = await lab.story(backupId);
  const types = story.map(({ type }) => type);
  expect(types.filter((type) => type === 'ProxyActivationRequested')).toHaveLength(2);
  expect(types.lastIndexOf('ProxyActivated')).toBeLessThan(types.indexOf('BackupTriggered'));
  expect(ofType(story, 'ProxiesPrestarted')[0]?.data).toMatchObject({ asked: 2, shortfall: null });
  expect(ofType(story, 'ProxiesChosen')[0]?.data.proxies.map(({ shared }) => shared)).toEqual([true, true]);
  expect(await allOf('ScheduleApproaching'), 'it is announced once; the next is tomorrow').toHaveLength(1);
  portsWereExclusive(story);
  everythingWasGivenBack(story);
  await goneProxies(4, EFFECTIVE_MILLISECONDS);
  await lab.ask('ScheduleRemovalRequested', { scheduleId: 'nightly' });
});

test('a proxy that has served its runs is replaced between them', async () => {
  await lab.changeHostPolicy({ proxyIdleSeconds: 600, recycleAfterRuns: 2 });
  const proxiesOf = (story: readonly Recorded[]) =>
    ofType(story, 'ProxiesChosen').flatMap(({ data }) => data.proxies);
  const [first, ...more] = proxiesOf(await backedUp('db'));
  expect(more).toEqual([]);
  const startedOne = { shared: false, why: expect.stringMatching(/^started for this run/) };
  expect(first).toMatchObject(startedOne);
  expect(proxiesOf(await backedUp('db'))).toMatchObject([{ proxyId: first?.proxyId, shared: true }]);
  const gone = await goneProxies(5, EFFECTIVE_MILLISECONDS);
  expect(gone.at(-1)?.data).toMatchObject({
    proxyId: first?.proxyId,
    reason: 'it has served 2 of the 2 runs that a proxy may',
    cost: { runs: 2 },
  });
  const third = proxiesOf(await backedUp('db'));
  expect(third).toMatchObject([startedOne]);
  expect(third[0]?.proxyId).not.toBe(first?.proxyId);
});

test('what proxies cost is on the record, and adds up', async () => {
  await lab.changeHostPolicy({ proxyIdleSeconds: 0 });
  const gone = await goneProxies(6, EFFECTIVE_MILLISECONDS);
  const requested = await allOf('ProxyActivationRequested');
  expect(gone).toHaveLength(requested.length);
  let ofProxies = 0;
  for (const { data, recordedAt } of gone) {
    const begun = requested.find((event) => event.data.proxyId === data.proxyId);
    const seconds = (Date.parse(recordedAt) - Date.parse(begun?.recordedAt ?? '')) / 1000;
    // Between the two clocks lies what an append takes.
    expect(Math.abs((data.cost?.upSeconds ?? Number.NaN) - seconds)).toBeLessThan(1);
    expect(data.cost?.busyPortSeconds).toBeGreaterThan(0);
    ofProxies += data.cost?.busyPortSeconds ?? Number.NaN;
  }
  const closed = await allOf('RunClosed');
  const ofRuns = closed.reduce((sum, { data }) => sum + (data.portSeconds ?? Number.NaN), 0);
  expect(ofRuns).toBeCloseTo(ofProxies, 3);
});
