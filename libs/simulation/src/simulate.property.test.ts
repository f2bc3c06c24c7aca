/** What must hold of any fleet under any policy. */
import { Policy } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { simulatedFleet } from './fleet.fixture.ts';
import { readFleet } from './fleet.ts';

const policy = fc.record({
  maxPortsPerProxy: fc.integer({ min: 1, max: 4 }),
  maxChildJobsPerProxy: fc.integer({ min: 1, max: 4 }),
  maxProxiesPerHost: fc.integer({ min: 0, max: 3 }),
  maxDisksPerProxy: fc.integer({ min: 1, max: 4 }),
  whenVmBusy: fc.constantFrom('queue', 'refuse'),
  childJobBytes: fc.constantFrom(256 * MiB, 1024 * MiB),
  proxyIdleSeconds: fc.constantFrom(0, 60, 3600),
});

const vms = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  disks: fc.array(
    fc.record({
      size: fc.integer({ min: 1, max: 3_000 }).map((mib) => mib * MiB),
      used: fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100),
      changePerDay: fc.integer({ min: 0, max: 200 }).map((percent) => percent / 100),
      tracked: fc.boolean(),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  schedules: fc.array(
    fc.record({
      cron: fc.constantFrom('0 * * * *', '*/11 * * * *', '30 1 * * *'),
      window: fc.constantFrom('5min', '2h'),
      spread: fc.constantFrom('0s', '40min'),
    }),
    { maxLength: 2 },
  ),
  variation: fc.constantFrom(0, 0.5),
  restorePointAge: fc.constantFrom(null, '24h'),
  trackingLost: fc.constantFrom(0, 0.2),
});

const described = fc.record({
  hosts: fc.integer({ min: 1, max: 3 }),
  variation: fc.constantFrom(0, 0.3),
  vms: fc.array(vms, { minLength: 1, maxLength: 3 }),
  policies: fc.tuple(policy, policy),
  seed: fc.nat(1000),
  slow: fc.boolean(),
});

type Described = typeof described extends fc.Arbitrary<infer Value> ? Value : never;

function fleetOf({ hosts, variation, vms, policies: [one, other], slow }: Described) {
  const fleet = readFleet({
    hosts: [{ name: 'h{n}', count: hosts, variation, ...(slow ? { bytesPerSecond: '2MiB' } : {}) }],
    vms: vms.map(({ disks, ...group }, index) => ({
      ...group,
      name: `v${index}-{n}`,
      disks: disks.map((disk, number) => ({ ...disk, name: `d${number}` })),
    })),
    policies: { one, other },
  });
  if (!fleet.ok) throw new Error(fleet.refusal.message);
  return fleet.value;
}

test('the same fleet and the same seed give the same comparison; every request ends or is told as unfinished; what is completed was read to the last byte; no port is held beyond the limits', () => {
  fc.assert(
    fc.property(described, (fleet) => {
      const options = { seed: fleet.seed, hours: 2 };
      const first = simulatedFleet(fleetOf(fleet), options);
      if (!first.ok) throw new Error(first.refusal.message);
      expect(simulatedFleet(fleetOf(fleet), options)).toEqual(first);
      for (const outcome of first.value.outcomes) {
        const { requested, completed, failed, refused, skipped, unfinished } = outcome.backups;
        expect(completed + failed + refused + skipped + unfinished).toBe(requested);
        expect(failed).toBe(0);
        expect(outcome.finishingSeconds.count).toBe(completed);
        expect(outcome.bytes.read).toBeLessThanOrEqual(outcome.bytes.planned);
        if (unfinished === 0) expect(outcome.bytes.read).toBe(outcome.bytes.planned);
        const limits = Policy.parse(fleet.policies[outcome.policy === 'one' ? 0 : 1]);
        const portsMax = limits.maxProxiesPerHost * limits.maxPortsPerProxy;
        expect(outcome.ports.mostAtAHost).toBeLessThanOrEqual(portsMax);
        expect(outcome.ports.hoursInUse).toBeLessThanOrEqual(outcome.ports.hoursUp + 1e-9);
        for (const [index, inUse] of outcome.course.portsInUse.entries())
          expect(inUse).toBeLessThanOrEqual((outcome.course.portsUp[index] ?? 0) + 0.01);
      }
      const [one, other] = first.value.outcomes;
      expect(one?.backups.requested).toBe(other?.backups.requested);
    }),
    { numRuns: 20 },
  );
});

test('hosts have nothing to do with each other: two of a kind in one fleet are as one in two', () => {
  const group = (name: string, host: string) => ({
    ...{ name, count: 5, hosts: [host], variation: 0.5 },
    disks: [{ name: 'vda', size: '8GiB' }],
    schedules: [{ cron: '0 * * * *' }],
  });
  const [a, b] = [
    { name: 'a', variation: 0.5 },
    { name: 'b', variation: 0.5 },
  ];
  const outcomeOf = (hosts: object[], vms: object[]) => {
    const fleet = readFleet({ hosts, vms });
    const comparison = fleet.ok ? simulatedFleet(fleet.value, { seed: 7, hours: 2 }) : fleet;
    if (!comparison.ok) throw new Error(comparison.refusal.message);
    const [outcome] = comparison.value.outcomes;
    if (outcome === undefined) throw new Error('There is an outcome for the one policy');
    return outcome;
  };
  const together = outcomeOf([a, b], [group('x-{n}', 'a'), group('y-{n}', 'b')]);
  const apart = [outcomeOf([a], [group('x-{n}', 'a')]), outcomeOf([b], [group('y-{n}', 'b')])];
  const sum = (of: (outcome: (typeof apart)[number]) => number) =>
    apart.reduce((sum, each) => sum + of(each), 0);
  expect(together.bytes.read).toBe(sum(({ bytes }) => bytes.read));
  expect(together.proxies.started).toBe(sum(({ proxies }) => proxies.started));
  expect(together.events).toBe(sum(({ events }) => events));
});
