/** Small fleets whose course can be worked out on paper: the numbers here were, and the code was not asked. */
import { expect, test } from 'vitest';
import { scriptOf, wholeVm } from './script.fixture.ts';

test('one VM: its snapshot, its proxy, its disk, two child jobs at once, and everything given back', () => {
  // 32 GiB in child jobs of 16 GiB: 2, for which one proxy of 4 ports does. A port moves 64 MiB/s: 256 s each.
  const { lines, completed } = scriptOf({ vms: [wholeVm('web', '32GiB')] });
  expect(lines).toEqual([
    '   5 SnapshotTaken web#1', //           1 s to inspect, 4 s to freeze
    '   5 ProxiesChosen web#1 p1',
    '  25 ProxyActivated p1', //            20 s to boot
    '  35 DiskAttached web#1.vda p1', //    10 s to hot-add
    '  35 ProxiesActivated web#1',
    '  35 PortsLeased web#1.vda.0 p1:0 wave 1',
    '  35 PortsLeased web#1.vda.1 p1:1 wave 1',
    ' 291 PortsReleased web#1.vda.0 completed',
    ' 291 PortsReleased web#1.vda.1 completed',
    ' 293 DiskDetached web#1.vda p1', //    2 s, while the manifest is written in 1 s
    ' 298 SnapshotReleased web#1', //       5 s
    ' 298 RunClosed web#1',
    ' 356 ProxyDeactivated p1', //         idle from 293 on for 60 s, and 3 s to stop
  ]);
  expect(completed).toEqual({ web: 292 });
});

test('child jobs that find no port go in a second wave', () => {
  // 64 GiB: 4 child jobs, one proxy of 2 ports.
  const { lines, completed } = scriptOf(
    { vms: [wholeVm('web', '64GiB')] },
    { maxPortsPerProxy: 2, maxProxiesPerHost: 1 },
  );
  expect(lines.filter((line) => line.includes('PortsLeased'))).toEqual([
    '  35 PortsLeased web#1.vda.0 p1:0 wave 1',
    '  35 PortsLeased web#1.vda.1 p1:1 wave 1',
    ' 291 PortsLeased web#1.vda.2 p1:0 wave 2',
    ' 291 PortsLeased web#1.vda.3 p1:1 wave 2',
  ]);
  expect(completed).toEqual({ web: 35 + 256 + 256 + 1 });
});

test('what a proxy moves is shared by its ports', () => {
  // Four ports of 64 MiB/s at a proxy that moves 128 MiB/s: each 32 MiB/s, so 16 GiB take 512 s.
  const { completed } = scriptOf({ host: { proxyBytesPerSecond: '128MiB' }, vms: [wholeVm('web', '64GiB')] });
  expect(completed).toEqual({ web: 35 + 512 + 1 });
});

test('what a host moves is shared by all its proxies, and who is left has more of it', () => {
  // Eight child jobs of 16 GiB at two proxies: 8 x 64 MiB/s wanted, 256 MiB/s there: 32 MiB/s each.
  const limited = { bytesPerSecond: '256MiB' };
  const even = scriptOf({ host: limited, vms: [wholeVm('web', '128GiB')] });
  expect(even.completed).toEqual({ web: 35 + 512 + 1 });
  // a has 4 x 16 GiB, b has 4 x 8 GiB, each at a proxy of its own, which has room for one disk.
  // Until b is done 32 MiB/s each: 8 GiB in 256 s. Then a has all: 8 GiB left of each at 64 MiB/s, in 128 s.
  const uneven = scriptOf(
    {
      host: limited,
      vms: [wholeVm('a', '64GiB'), wholeVm('b', '32GiB', { policy: { childJobBytes: '8GiB' } })],
    },
    { maxDisksPerProxy: 1 },
  );
  expect(uneven.completed).toEqual({ a: 35 + 256 + 128 + 1, b: 35 + 256 + 1 });
});

test('the second VM shares the proxy of the first, and waits for its ports', () => {
  const { lines, completed } = scriptOf(
    { vms: [wholeVm('a', '32GiB'), wholeVm('b', '32GiB')] },
    { maxProxiesPerHost: 1, maxPortsPerProxy: 2 },
  );
  expect(lines.filter((line) => /Chosen|Leased/.test(line))).toEqual([
    '   5 ProxiesChosen a#1 p1',
    '   5 ProxiesChosen b#2 p1 shared',
    // They take turns: one port each, then one port each again.
    '  35 PortsLeased a#1.vda.0 p1:0 wave 1',
    '  35 PortsLeased b#2.vda.0 p1:1 wave 1',
    ' 291 PortsLeased a#1.vda.1 p1:0 wave 1',
    ' 291 PortsLeased b#2.vda.1 p1:1 wave 1',
  ]);
  expect(completed).toEqual({ a: 35 + 512 + 1, b: 35 + 512 + 1 });
});

test('a small incremental goes direct to host, at the speed of its streams', () => {
  // A day at 1 % of 100 GiB: 1 GiB, below the threshold of 2 GiB. One child job at 32 MiB/s: 32 s.
  const { lines, results, completed } = scriptOf({
    vms: [
      {
        ...wholeVm('web', '100GiB'),
        disks: [{ name: 'vda', size: '100GiB', used: '100%', changePerDay: '1%' }],
        restorePointAge: '24h',
      },
    ],
  });
  // 1 s to inspect, 4 s to freeze, 1 s to open; the inspection comes a second after the day is full.
  const bytes = Math.round(100 * 1024 ** 3 * 0.01 * (86_401 / 86_400));
  expect(results).toMatchObject([{ mode: 'direct-to-host', kind: 'incremental', bytesRead: bytes }]);
  expect(completed).toEqual({ web: 6 + Math.ceil((bytes / (32 * 1024 ** 2)) * 1000) / 1000 + 1 });
  expect(lines.filter((line) => /Proxy|Attached/.test(line))).toEqual([]);
});

test('a VM whose backup runs has the next one wait, and one that comes due while another waits asks for nothing', () => {
  // 1,024 s for 64 GiB through one port; due every five minutes: at 0, 300, 600 and so on.
  const { results } = scriptOf(
    { vms: [{ ...wholeVm('web', '64GiB'), schedules: [{ cron: '*/5 * * * *', kind: 'full' }] }] },
    { maxPortsPerProxy: 1, maxProxiesPerHost: 1 },
  );
  const told = results.map(
    ({ outcome, at, startedAt }) =>
      `${new Date(at).getUTCMinutes()} ${outcome}${startedAt === undefined ? '' : ` after ${(startedAt - at) / 1000}`}`,
  );
  // The first ends at 35 + 1,024 + 2 + 5 = 1,066, and the one of minute 5 has its turn; then the one of minute 20 waits.
  expect(told.slice(0, 5)).toEqual([
    '10 skipped',
    '15 skipped',
    '0 completed after 0',
    '25 skipped',
    '30 skipped',
  ]);
  expect(told).toContain('5 completed after 766');
});

test('what is open when the clock stops is told as unfinished', () => {
  const { results } = scriptOf({ host: { portBytesPerSecond: '1MiB' }, vms: [wholeVm('web', '64GiB')] });
  expect(results).toMatchObject([{ outcome: 'unfinished', bytesPlanned: 64 * 1024 ** 3 }]);
});

test('a plan that is refused ends the turn, with the reason', () => {
  const { results } = scriptOf({ vms: [wholeVm('web', '64GiB')] }, { maxPortsPerProxy: 0 });
  expect(results).toMatchObject([
    { outcome: 'refused', reason: expect.stringContaining('lets no child job run on a proxy VM') },
  ]);
});
