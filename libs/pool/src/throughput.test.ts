import type { EventData } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { learn, nothingKnown, speedsFor } from './throughput.ts';

const MiB = 1024 ** 2;
type Seen = EventData<'ProxyThroughputObserved'>;

/** Summaries of runs that each moved 128 MiB, at so many MiB a second and port. */
function known(...runs: (Partial<Seen> & { readonly mib: number })[]) {
  const all = nothingKnown();
  for (const { mib, ...seen } of runs) {
    const summary: Seen = {
      hostId: 'lab',
      runId: '00000000-0000-4000-8000-000000000000',
      vmId: 'web',
      purpose: 'backup',
      mode: 'proxy-vm',
      proxyId: 'p1',
      storage: null,
      childJobs: 1,
      bytes: 128 * MiB,
      portSeconds: 128 / mib,
      ...seen,
    };
    learn(all, summary, () => false);
  }
  return all;
}
const expected = (
  all: ReturnType<typeof known>,
  vmId: string,
  proxyId: string,
  storage: string | null = null,
) => {
  const speed = speedsFor(all.backup, vmId, storage)(proxyId);
  return speed === undefined ? undefined : [Math.round(speed.bytesPerSecond / MiB), speed.from];
};

test('nothing is expected where nothing is known of any proxy', () => {
  expect(expected(known(), 'web', 'p1')).toBeUndefined();
});

test('what a proxy did for the VM itself is what it is expected to do again', () => {
  const all = known({ proxyId: 'p1', mib: 40 }, { proxyId: 'p2', mib: 90 });
  expect(expected(all, 'web', 'p1')).toEqual([40, 'vm']);
  expect(expected(all, 'web', 'p2')).toEqual([90, 'vm']);
});

test('one of which nothing is known is taken for average', () => {
  const all = known({ proxyId: 'p1', mib: 40 }, { proxyId: 'p2', mib: 90 });
  const [mib = 0, from] = expected(all, 'web', 'p3') ?? [];
  expect(from).toBeUndefined();
  expect(mib).toBeGreaterThan(40);
  expect(mib).toBeLessThan(90);
});

test('one that was half as fast as the mean for others is expected to be half as fast as the mean for this VM', () => {
  const all = known(
    { vmId: 'db', proxyId: 'fast', mib: 300 },
    { vmId: 'db', proxyId: 'slow', mib: 100 },
    { vmId: 'web', proxyId: 'p1', mib: 20 },
  );
  const [slow = 0, from] = expected(all, 'web', 'slow') ?? [];
  const [fast = 0] = expected(all, 'web', 'fast') ?? [];
  expect(from).toBe('proxy');
  expect(Number(fast) / Number(slow)).toBeCloseTo(3, 0);
});

test('the storage that the disks lie on says more than all the rest', () => {
  const all = known(
    { vmId: 'db', proxyId: 'p1', storage: '/ssd', mib: 200 },
    { vmId: 'db', proxyId: 'p2', storage: '/ssd', mib: 100 },
    { vmId: 'old', proxyId: 'p1', storage: '/tape', mib: 2 },
  );
  expect(expected(all, 'new', 'p1', '/ssd')).toEqual([200, 'storage']);
  expect(expected(all, 'new', 'p2', '/ssd')).toEqual([100, 'storage']);
});

test('what was seen last counts most, and what moved little counts little', () => {
  const slowed = known({ mib: 100 }, { mib: 20 });
  const [after = 0] = expected(slowed, 'web', 'p1') ?? [];
  expect(after).toBeLessThan(60);
  const hiccup = known({ mib: 100 }, { bytes: 2 * MiB, portSeconds: 2, mib: 1 });
  const [still = 0] = expected(hiccup, 'web', 'p1') ?? [];
  expect(still).toBeGreaterThan(90);
});

test('recoveries are not judged by backups, nor proxies by what went past them', () => {
  const all = known(
    { purpose: 'recovery', mib: 5 },
    { mode: 'direct-to-host', proxyId: 'direct-1', mib: 500 },
    { mib: 50 },
  );
  expect(expected(all, 'web', 'p1')).toEqual([50, 'vm']);
  expect(all.backup.vms.get('web')?.direct?.bytesPerSecond).toBe(500 * MiB);
});

test('memory is bounded: what was longest untouched is forgotten', () => {
  const many = Array.from({ length: 3_000 }, (_, n) => ({
    vmId: `vm${n}`,
    proxyId: `p${n}`,
    storage: `/s${n}`,
    mib: 50,
  }));
  const { vms, storages, host } = known(...many).backup;
  expect([vms.size, storages.size, host.proxies.size]).toEqual([2_000, 64, 512]);
  expect(vms.has('vm2999')).toBe(true);
  expect(vms.has('vm0')).toBe(false);
});
