import { GiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { simulatedFleet } from './fleet.fixture.ts';
import { readFleet } from './fleet.ts';

const small = () => ({
  hosts: [{ name: 'kvm-{n}', count: 2 }],
  vms: [{ name: 'web', disks: [{ name: 'vda', size: '60GiB' }], schedules: [{ cron: '0 22 * * *' }] }],
});
const messageOf = (described: unknown): string => {
  const fleet = readFleet(described);
  return fleet.ok ? 'accepted' : fleet.refusal.message;
};

test('quantities are written as people write them', () => {
  const fleet = readFleet({
    ...small(),
    vms: [
      {
        name: 'web',
        disks: [{ name: 'vda', size: '1.5GiB', used: '40%', changePerDay: 0.5 }],
        schedules: [{ cron: '0 22 * * *', window: '6h', spread: '30min' }],
        policy: { childJobBytes: '8GiB' },
      },
    ],
  });
  expect(fleet).toMatchObject({
    ok: true,
    value: {
      vms: [
        {
          disks: [{ size: 1.5 * GiB, used: 0.4, changePerDay: 0.5 }],
          schedules: [{ window: 21_600_000, spread: 1_800_000 }],
          policy: { childJobBytes: 8 * GiB },
        },
      ],
    },
  });
});

describe('what is wrong is named', () => {
  test.each([
    [
      'a misspelt field',
      { ...small(), hosts: [{ name: 'a', bootSeconds: 3 }] },
      /bootSeconds.*\n.*hosts\[0\]/,
    ],
    ['no size', { ...small(), vms: [{ name: 'a', disks: [{ name: 'vda', size: 'big' }] }] }, /"big".*100GiB/],
    ['no share', { ...small(), vms: [{ name: 'a', disks: [{ name: 'v', size: 1, used: '200%' }] }] }, /100%/],
    ['a policy field', { ...small(), policies: { x: { maxProxies: 3 } } }, /maxProxies.*\n.*policies\.x/],
    ['many of one name', { ...small(), hosts: [{ name: 'a', count: 2 }] }, /\{n\}.*\n.*hosts\[0\]\.name/],
    [
      'hosts that are not there',
      { ...small(), vms: [{ ...small().vms[0], hosts: ['b'] }] },
      /b, which are not/,
    ],
    ['two of one name', { ...small(), vms: [small().vms[0], small().vms[0]] }, /web is there twice/],
  ])('%s', (_, described, message) => {
    expect(messageOf(described)).toMatch(message);
  });

  test('a cron that cannot be read', () => {
    const fleet = readFleet({
      ...small(),
      vms: [{ ...small().vms[0], schedules: [{ cron: 'at night' }] }],
    });
    expect(fleet.ok && simulatedFleet(fleet.value, { seed: 1, hours: 24 })).toMatchObject({
      ok: false,
      refusal: { code: 'InvalidSchedule', message: expect.stringContaining('at night') },
    });
  });

  test('a policy that is not described', () => {
    const fleet = readFleet(small());
    expect(fleet.ok && simulatedFleet(fleet.value, { seed: 1, hours: 24, policies: ['gold'] })).toMatchObject(
      {
        ok: false,
        refusal: { code: 'UnknownPolicy', wayOut: expect.stringContaining('default') },
      },
    );
  });
});

test('VMs are dealt out over the hosts that take them in', () => {
  const fleet = readFleet({
    hosts: [
      { name: 'a-{n}', count: 2 },
      { name: 'b', count: 1 },
    ],
    vms: [
      { ...small().vms[0], name: 'w-{n}', count: 7 },
      { ...small().vms[0], name: 'x-{n}', count: 3, hosts: ['b'] },
    ],
  });
  const comparison = fleet.ok ? simulatedFleet(fleet.value, { seed: 1, hours: 24 }) : fleet;
  expect(comparison).toMatchObject({
    ok: true,
    value: { hosts: 3, vms: 10, outcomes: [{ backups: { requested: 10, completed: 10 } }] },
  });
});

test('a window that is missed is told with the VM that missed it, and one that the clock did not reach is not', () => {
  const vm = (name: string, size: string, window: string) => ({
    ...{ name, restorePointAge: null, disks: [{ name: 'vda', size, used: '100%' }] },
    schedules: [{ cron: '0 0 * * *', window }],
  });
  const fleet = readFleet({
    hosts: [{ name: 'a', portBytesPerSecond: '16MiB' }],
    // 16 GiB at 16 MiB/s: 1,024 s and what is around it. The last one takes 18 hours, and the clock stops after two.
    vms: [
      vm('in-time', '16GiB', '1h'),
      vm('late', '16GiB', '10min'),
      vm('huge', '1TiB', '1h'),
      vm('far', '1TiB', '9h'),
    ],
    policies: { one: { maxProxiesPerHost: 4, childJobBytes: '1TiB' } },
  });
  const comparison = fleet.ok ? simulatedFleet(fleet.value, { seed: 1, hours: 1 }) : fleet;
  expect(comparison).toMatchObject({
    ok: true,
    value: {
      outcomes: [
        {
          backups: { completed: 2, unfinished: 2 },
          windows: {
            given: 3,
            missed: 2,
            worst: [
              { vmId: 'huge', completedAt: null, outcome: 'unfinished' },
              { vmId: 'late', outcome: 'completed', completeBy: '2026-01-05T00:10:00.000Z' },
            ],
          },
        },
      ],
    },
  });
});
