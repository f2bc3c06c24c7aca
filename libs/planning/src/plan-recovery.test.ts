import { EVENT_DATA_BYTES_MAX, type Policy, type RecoveryAsked, RecoveryPlan } from '@backhaul/contracts';
import { GiB, MiB, TiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { CHILD_JOBS_MAX } from './child-jobs.ts';
import { planRecovery } from './plan-recovery.ts';
import {
  type DiskOfRestorePoint,
  recoveryAsked,
  recoveryInspectionOf,
  toWrite,
} from './recoveries.fixture.ts';

interface Case {
  readonly name: string;
  readonly disks: DiskOfRestorePoint[];
  readonly policy?: Partial<Policy>;
  readonly asks?: Partial<RecoveryAsked>;
  readonly missing?: Partial<Record<'proxy-vm' | 'direct-to-host', string>>;
  readonly freeBytes?: number;
  readonly active?: number;
  /** mode, streams by the formula: those per disk, proxies calculated -> used (shared), waves, and what limited it. */
  readonly planned: string;
}

const three = [toWrite('vda', 100 * GiB), toWrite('vdb', 100 * GiB), toWrite('vdc', 100 * GiB)];

const cases: Case[] = [
  {
    name: 'one disk is written by as many streams as a disk may have, through one proxy',
    disks: [toWrite('vda', 100 * GiB)],
    planned: 'proxy-vm | streams 2: 2 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'many disks: 5 * 2 streams of one port each fill three proxies of four ports',
    disks: Array.from({ length: 5 }, (_, i) => toWrite(`vd${i}`, 20 * GiB)),
    planned: 'proxy-vm | streams 10: 2+2+2+2+2 | proxies 3 -> 3 (0 shared) | waves 1',
  },
  {
    name: 'the size of the disks changes nothing about the quantity',
    disks: Array.from({ length: 5 }, (_, i) => toWrite(`vd${i}`, 8 * TiB)),
    planned: 'proxy-vm | streams 10: 2+2+2+2+2 | proxies 3 -> 3 (0 shared) | waves 1',
  },
  {
    name: 'streams above the ports of one proxy: one disk alone takes four proxies',
    disks: [toWrite('vda', TiB)],
    policy: { maxStreamsPerDisk: 16 },
    planned: 'proxy-vm | streams 16: 16 | proxies 4 -> 4 (0 shared) | waves 1',
  },
  {
    name: 'streams of two ports each need twice the proxies',
    disks: three,
    policy: { portsPerStream: 2 },
    planned: 'proxy-vm | streams 6: 2+2+2 | proxies 3 -> 3 (0 shared) | waves 1',
  },
  {
    name: 'ports that are left over serve no stream: a stream has all its ports from one proxy',
    disks: three,
    policy: { portsPerStream: 3, maxPortsPerProxy: 5 },
    planned: 'proxy-vm | streams 6: 2+2+2 | proxies 6 -> 6 (0 shared) | waves 1 | maxPortsPerProxy',
  },
  {
    name: 'child jobs per proxy bind before its ports',
    disks: three,
    policy: { maxPortsPerProxy: 8, maxChildJobsPerProxy: 2 },
    planned: 'proxy-vm | streams 6: 2+2+2 | proxies 3 -> 3 (0 shared) | waves 1 | maxChildJobsPerProxy',
  },
  {
    name: 'child jobs per proxy below its ports, and the quantity the same: nothing was limited',
    disks: [toWrite('vda', 100 * GiB)],
    policy: { maxPortsPerProxy: 8, maxChildJobsPerProxy: 2 },
    planned: 'proxy-vm | streams 2: 2 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'a host limit below the second quantity makes waves',
    disks: Array.from({ length: 9 }, (_, i) => toWrite(`vd${i}`, 20 * GiB)),
    policy: { maxProxiesPerHost: 2 },
    planned: `proxy-vm | streams 18: ${Array(9).fill(2).join('+')} | proxies 5 -> 2 (0 shared) | waves 3 | maxProxiesPerHost`,
  },
  {
    name: 'a host limit that the streams with data do not feel makes no waves',
    disks: Array.from({ length: 4 }, (_, i) => toWrite(`vd${i}`, 20 * GiB, MiB)),
    policy: { maxProxiesPerHost: 1, recoveryThresholdBytes: 0 },
    planned:
      'proxy-vm | streams 8: 1+1+1+1 | proxies 2 -> 1 (0 shared) | waves 1 | streamBytesMin, maxProxiesPerHost',
  },
  {
    name: 'proxies that are active already are expected to be shared',
    disks: Array.from({ length: 5 }, (_, i) => toWrite(`vd${i}`, 20 * GiB)),
    active: 2,
    planned: 'proxy-vm | streams 10: 2+2+2+2+2 | proxies 3 -> 3 (2 shared) | waves 1',
  },
  {
    name: 'more active proxies than are needed are not all taken',
    disks: three,
    active: 7,
    planned: 'proxy-vm | streams 6: 2+2+2 | proxies 2 -> 2 (2 shared) | waves 1',
  },
  {
    name: 'a disk of no bytes is one stream that writes nothing',
    disks: [toWrite('vda', 0)],
    planned: 'direct-to-host | streams 2: 1 | proxies 0 -> 0 (0 shared) | waves 1 | streamBytesMin',
  },
  {
    name: 'a disk of zeros is one stream that covers it',
    disks: [toWrite('vda', 100 * GiB, 0), toWrite('vdb', 100 * GiB)],
    planned: 'proxy-vm | streams 4: 1+2 | proxies 1 -> 1 (0 shared) | waves 1 | streamBytesMin',
  },
  {
    name: 'more proxies than streams with data help nobody',
    disks: [toWrite('vda', GiB, 11 * MiB), toWrite('vdb', GiB, 0)],
    policy: { maxStreamsPerDisk: 8, maxChildJobsPerProxy: 1, recoveryThresholdBytes: 0 },
    planned:
      'proxy-vm | streams 16: 2+1 | proxies 16 -> 3 (0 shared) | waves 1 | maxChildJobsPerProxy, streamBytesMin, childJobs',
  },
  {
    name: 'just under the threshold goes direct to the host',
    disks: [toWrite('vda', 8 * GiB, 4 * GiB - 1)],
    planned: 'direct-to-host | streams 2: 2 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'at the threshold goes through proxies, the disks added up',
    disks: [toWrite('vda', 8 * GiB, 2 * GiB), toWrite('vdb', 8 * GiB, 2 * GiB)],
    planned: 'proxy-vm | streams 4: 2+2 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'a mode that the request forces wins over the policy and over the amount',
    disks: [toWrite('vda', GiB)],
    policy: { mode: 'direct-to-host' },
    asks: { mode: 'proxy-vm' },
    planned: 'proxy-vm | streams 2: 2 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'a mode that the policy forces wins over the amount, and direct streams make waves',
    disks: three,
    policy: { mode: 'direct-to-host' },
    planned: 'direct-to-host | streams 6: 2+2+2 | proxies 0 -> 0 (0 shared) | waves 3 | maxDirectStreams',
  },
  {
    name: 'a mode that is not available gives way to the other',
    disks: [toWrite('vda', 100 * GiB)],
    missing: { 'proxy-vm': 'no appliance is installed' },
    planned: 'direct-to-host | streams 2: 2 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'exactly as much room as there is to write is enough, also for a disk that is larger',
    disks: [toWrite('vda', 100 * GiB, 5 * GiB)],
    freeBytes: 5 * GiB,
    planned: 'proxy-vm | streams 2: 2 | proxies 1 -> 1 (0 shared) | waves 1',
  },
];

describe('the plan of a recovery', () => {
  for (const { name, planned, ...given } of cases) {
    test(name, () => {
      const result = planFor(given);
      expect(result.ok ? line(result.value) : result.refusal).toBe(planned);
      if (result.ok) expect(RecoveryPlan.parse(result.value)).toEqual(result.value);
    });
  }

  test('carries what was asked to whoever runs it', () => {
    const asks = { replace: true, start: false, verify: true, machine: { memoryMiB: 4096, cpus: 4 } };
    expect(accepted({ disks: three, asks })).toMatchObject({ ...asks, manifestDigest: 'ab'.repeat(32) });
  });

  test('cuts a disk where half of its data is, not in its middle', () => {
    const data = { bucketBytes: 4 * GiB, buckets: [4 * GiB, 0, 0, 4 * GiB] };
    const [first, second] = accepted({ disks: [{ diskId: 'vda', sizeBytes: 16 * GiB, data }] }).childJobs;
    expect(first).toMatchObject({ offset: 0, length: 4 * GiB, estimatedBytes: 4 * GiB });
    expect(second).toMatchObject({ offset: 4 * GiB, length: 12 * GiB, estimatedBytes: 4 * GiB });
    expect([first?.childJobId, second?.childJobId].map((id) => id?.slice(36))).toEqual(['.vda.0', '.vda.1']);
  });
});

describe('a plan of a recovery says why', () => {
  test('the mode, by the amount held against the threshold of recoveries', () => {
    expect(accepted({ disks: [toWrite('vda', 100 * GiB)] })).toMatchObject({
      modeReason: '100 GiB to write against a threshold of 4 GiB: at or above it, at 2500 %',
      rejected: [{ what: 'mode direct-to-host' }],
    });
  });

  test('a mode that was wanted and is not available is kept, with what was in the way', () => {
    const missing = { 'proxy-vm': 'no appliance is installed' };
    expect(accepted({ disks: three, asks: { mode: 'proxy-vm' }, missing })).toMatchObject({
      modeReason:
        'proxy-vm was chosen (forced by the request) but is not available: no appliance is installed',
      rejected: [{ what: 'mode proxy-vm', why: 'no appliance is installed' }],
    });
  });

  test('what limited the quantity, and to what effect', () => {
    const disks = [toWrite('vda', GiB, 11 * MiB), toWrite('vdb', GiB, 0)];
    const policy = { maxStreamsPerDisk: 8, maxChildJobsPerProxy: 1, maxProxiesPerHost: 2 };
    expect(accepted({ disks, policy, asks: { mode: 'proxy-vm' } }).limitedBy).toEqual([
      {
        limit: 'maxChildJobsPerProxy',
        value: 1,
        effect:
          'a proxy VM runs 1 data stream at a time and not the 4 that it has ports for: 16 proxy VMs calculated instead of 4',
      },
      {
        limit: 'streamBytesMin',
        value: 4 * MiB,
        effect:
          '3 data streams instead of 16: one is worth at least 4 MiB of data, of which there is too little on vda, vdb',
      },
      {
        limit: 'childJobs',
        value: 3,
        effect: '3 of the 16 proxy VMs calculated: there is no more than one data stream for each',
      },
      {
        limit: 'maxProxiesPerHost',
        value: 2,
        effect: '2 of the 16 proxy VMs calculated: 3 data streams run in 2 waves instead of 1',
      },
    ]);
  });

  test('ports that are left over', () => {
    const policy = { portsPerStream: 3, maxPortsPerProxy: 5, maxChildJobsPerProxy: 1 };
    expect(accepted({ disks: three, policy }).limitedBy).toEqual([
      {
        limit: 'maxPortsPerProxy',
        value: 5,
        effect:
          'a data stream holds 3 ports of one proxy VM, and 2 of its 5 are left over: 6 proxy VMs calculated instead of 4',
      },
    ]);
  });
});

describe('a plan of a recovery is refused', () => {
  test('when there is no disk', () => {
    expect(planFor({ disks: [] })).toMatchObject({ refusal: { code: 'NoDisksToRecover' } });
  });

  test('when a stream needs more ports than a proxy has, also where the mode would need no proxy', () => {
    for (const mode of ['auto', 'direct-to-host'] as const) {
      expect(planFor({ disks: three, policy: { portsPerStream: 5 }, asks: { mode } })).toEqual({
        ok: false,
        refusal: {
          code: 'NoStreamFits',
          message:
            'Policy default lets no data stream run on a proxy VM: min(maxChildJobsPerProxy 4, floor(maxPortsPerProxy 4 / portsPerStream 5)) is 0.',
          wayOut: 'Set maxPortsPerProxy to at least 5 (or portsPerStream to at most 4) in policy default.',
        },
      });
    }
  });

  test.each(['maxStreamsPerDisk', 'portsPerStream', 'maxPortsPerProxy', 'maxChildJobsPerProxy'])(
    'when %s is 0, naming it',
    (field) => {
      expect(planFor({ disks: three, policy: { [field]: 0 } })).toMatchObject({
        refusal: { code: 'NoStreamFits', wayOut: expect.stringContaining(`${field} to at least 1`) },
      });
    },
  );

  test('when the host has less room than there is to write, by how much', () => {
    expect(planFor({ disks: [toWrite('vda', 100 * GiB, 5 * GiB)], freeBytes: 5 * GiB - 1 })).toMatchObject({
      refusal: { code: 'NotEnoughSpace', message: expect.stringMatching(/web-2 .* 1 byte too few/) },
    });
  });

  test('when it is more than an event can carry, with the number that would do', () => {
    const many = (maxStreamsPerDisk: number) => ({ disks: three, policy: { maxStreamsPerDisk } });
    const refused = planFor(many(CHILD_JOBS_MAX));
    expect(refused).toMatchObject({
      refusal: { code: 'TooManyStreams', wayOut: expect.stringContaining('at most 1000 ') },
    });
    expect(accepted(many(1000)).childJobs).toHaveLength(CHILD_JOBS_MAX);
    // With the longest names there can be, it is still a message that NATS carries.
    const longest = toWrite('d'.repeat(63), 512 * TiB);
    const plan = accepted({ disks: [longest], policy: { maxStreamsPerDisk: CHILD_JOBS_MAX } });
    expect(JSON.stringify(plan).length).toBeLessThan(EVENT_DATA_BYTES_MAX);
  });

  test('when the mode is not available and the policy wants no other', () => {
    expect(
      planFor({
        disks: three,
        policy: { whenModeUnavailable: 'refuse' },
        missing: { 'proxy-vm': 'no appliance is installed' },
      }),
    ).toMatchObject({
      refusal: {
        code: 'ModeUnavailable',
        message: expect.stringMatching(/^Mode proxy-vm .* for VM web-2: no appliance is installed\.$/),
      },
    });
  });
});

function planFor({
  disks,
  policy = {},
  asks = {},
  missing = {},
  freeBytes,
  active = 0,
}: Omit<Case, 'name' | 'planned'>) {
  const activeProxies = [
    { proxyId: 'too-few-ports', ports: (policy.portsPerStream ?? 1) - 1 },
    ...Array.from({ length: active }, (_, i) => ({ proxyId: `p${i}`, ports: 4 })),
  ];
  const inspection = recoveryInspectionOf(disks, { ...missing, freeBytes: freeBytes ?? null });
  return planRecovery(recoveryAsked(asks, policy), inspection, { activeProxies });
}

function accepted(given: Omit<Case, 'name' | 'planned'>): RecoveryPlan {
  const result = planFor(given);
  if (!result.ok) throw new Error(`Refused: ${result.refusal.message}`);
  return result.value;
}

const line = (p: RecoveryPlan): string =>
  [
    p.mode,
    `streams ${p.arithmetic.streams}: ${p.disks.map((d) => d.streams).join('+')}`,
    `proxies ${p.proxiesCalculated} -> ${p.proxies} (${p.expectedShared} shared)`,
    `waves ${p.waves}`,
    ...(p.limitedBy.length === 0 ? [] : [p.limitedBy.map(({ limit }) => limit).join(', ')]),
  ].join(' | ');
