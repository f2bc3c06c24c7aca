import { EVENT_DATA_BYTES_MAX, type InspectedDisk, Plan, Policy } from '@backhaul/contracts';
import { derivedId, GiB, MiB, TiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { CHILD_JOBS_MAX } from './child-jobs.ts';
import { disk, inspectionOf } from './inspections.fixture.ts';
import { type PlanRequest, plan } from './plan.ts';

const request: PlanRequest = {
  backupId: derivedId('backup', 'r1'),
  kind: 'auto',
  mode: 'auto',
  parent: null,
  priority: 'normal',
  askedAt: '2026-01-01T00:00:00.000Z',
};

interface Case {
  readonly name: string;
  readonly disks: InspectedDisk[];
  readonly policy?: Partial<Policy>;
  readonly asks?: Partial<PlanRequest>;
  readonly missing?: Partial<Record<'proxy-vm' | 'direct-to-host', string>>;
  readonly active?: number;
  /** kind, mode, child jobs per disk, proxies calculated -> used (shared), waves. */
  readonly planned: string;
}

const cases: Case[] = [
  {
    name: 'a zero-size disk is one child job without bytes',
    disks: [disk('vda', 0)],
    planned: 'full direct-to-host | jobs 1 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'one huge disk of 8 TiB, all allocated, is cut into 512 child jobs of 16 GiB',
    disks: [disk('vda', 8 * TiB)],
    policy: { maxProxiesPerHost: 1000 },
    planned: 'full proxy-vm | jobs 512 | proxies 128 -> 128 (0 shared) | waves 1',
  },
  {
    name: 'one huge disk with little on it is small work',
    disks: [disk('vda', 8 * TiB, { allocated: 3 * GiB })],
    planned: 'full direct-to-host | jobs 1 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'many tiny disks are a child job each, whatever they hold together',
    disks: Array.from({ length: 20 }, (_, i) => disk(`vd${i}`, 300 * MiB)),
    planned: `full proxy-vm | jobs ${Array(20).fill(1).join('+')} | proxies 5 -> 5 (0 shared) | waves 1`,
  },
  {
    name: 'ports bind before child jobs: three ports each leave one child job per proxy',
    disks: [disk('vda', 64 * GiB)],
    policy: { maxChildJobsPerProxy: 4, maxPortsPerProxy: 5, portsPerChildJob: 3 },
    planned: 'full proxy-vm | jobs 4 | proxies 4 -> 4 (0 shared) | waves 1',
  },
  {
    name: 'a host limit below the calculated quantity makes waves',
    disks: [disk('vda', 640 * GiB)],
    policy: { maxProxiesPerHost: 3 },
    planned: 'full proxy-vm | jobs 40 | proxies 10 -> 3 (0 shared) | waves 4',
  },
  {
    name: 'proxies that are active already are expected to be shared',
    disks: [disk('vda', 640 * GiB)],
    policy: { maxProxiesPerHost: 3 },
    active: 2,
    planned: 'full proxy-vm | jobs 40 | proxies 10 -> 3 (2 shared) | waves 4',
  },
  {
    name: 'a full just under its threshold goes direct to the host',
    disks: [disk('vda', 8 * GiB, { allocated: 4 * GiB - 1 })],
    planned: 'full direct-to-host | jobs 1 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'a full at its threshold goes through proxies',
    disks: [disk('vda', 8 * GiB, { allocated: 4 * GiB })],
    planned: 'full proxy-vm | jobs 1 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'ten disks of a tenth of the threshold each are at it, not just under',
    disks: Array.from({ length: 10 }, (_, i) => disk(`vd${i}`, GiB, { allocated: 300 * MiB })),
    policy: { fullThresholdBytes: 3000 * MiB },
    planned: `full proxy-vm | jobs ${Array(10).fill(1).join('+')} | proxies 3 -> 3 (0 shared) | waves 1`,
  },
  {
    name: 'an incremental with a low change rate goes direct to the host',
    disks: [disk('vda', 2 * TiB, { allocated: TiB, changed: 200 * MiB })],
    planned: 'incremental direct-to-host | jobs 1 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'an incremental with a high change rate goes through proxies, cut by the changed bytes',
    disks: [disk('vda', 2 * TiB, { allocated: TiB, changed: 40 * GiB })],
    planned: 'incremental proxy-vm | jobs 3 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'mixed kinds add up their shares: half of each threshold is a whole one',
    disks: [disk('vda', TiB, { allocated: TiB, changed: GiB }), disk('vdb', TiB, { allocated: 2 * GiB })],
    planned: 'incremental proxy-vm | jobs 1+1 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'mixed kinds that are small together go direct',
    disks: [disk('vda', TiB, { allocated: TiB, changed: GiB }), disk('vdb', TiB, { allocated: GiB })],
    planned: 'incremental direct-to-host | jobs 1+1 | proxies 0 -> 0 (0 shared) | waves 1',
  },
  {
    name: 'a threshold of zero sends everything through proxies',
    disks: [disk('vda', GiB, { allocated: 0 })],
    policy: { fullThresholdBytes: 0 },
    planned: 'full proxy-vm | jobs 1 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'a full that was asked for is a full, whatever the tracking says',
    disks: [disk('vda', 100 * GiB, { allocated: 100 * GiB, changed: MiB })],
    asks: { kind: 'full' },
    planned: 'full proxy-vm | jobs 7 | proxies 2 -> 2 (0 shared) | waves 1',
  },
  {
    name: 'a mode that the request forces wins over the policy and over the amount',
    disks: [disk('vda', GiB)],
    policy: { mode: 'direct-to-host' },
    asks: { mode: 'proxy-vm' },
    planned: 'full proxy-vm | jobs 1 | proxies 1 -> 1 (0 shared) | waves 1',
  },
  {
    name: 'a mode that the policy forces wins over the amount, and direct streams make waves',
    disks: [disk('vda', 100 * GiB)],
    policy: { mode: 'direct-to-host' },
    planned: 'full direct-to-host | jobs 7 | proxies 0 -> 0 (0 shared) | waves 4',
  },
  {
    name: 'a mode that is not available gives way to the other',
    disks: [disk('vda', 100 * GiB)],
    missing: { 'proxy-vm': 'no appliance is installed' },
    planned: 'full direct-to-host | jobs 7 | proxies 0 -> 0 (0 shared) | waves 4',
  },
  {
    name: 'a policy that allows no proxy on the host makes proxy-vm unavailable',
    disks: [disk('vda', 100 * GiB)],
    policy: { maxProxiesPerHost: 0 },
    planned: 'full direct-to-host | jobs 7 | proxies 0 -> 0 (0 shared) | waves 4',
  },
];

describe('the plan of a backup', () => {
  for (const { name, planned, ...given } of cases) {
    test(name, () => {
      const result = planFor(given);
      expect(result.ok ? line(result.value) : result.refusal).toBe(planned);
      if (result.ok) expect(Plan.parse(result.value)).toEqual(result.value);
    });
  }
});

describe('a plan says why', () => {
  test('a full because of the amount, held against the threshold of its kind', () => {
    expect(accepted({ disks: [disk('vda', 100 * GiB)] })).toMatchObject({
      modeReason: '100 GiB full against a threshold of 4 GiB: at or above it, at 2500 %',
      rejected: [{ what: 'mode direct-to-host' }],
    });
  });

  test('just under the threshold never reads as 100 %', () => {
    expect(accepted({ disks: [disk('vda', 8 * GiB, { allocated: 4 * GiB - 1 })] }).modeReason).toMatch(
      /below it, at 99\.9 %$/,
    );
  });

  test('a mode that was wanted and is not available is kept, with what was in the way', () => {
    const missing = { 'proxy-vm': 'no appliance is installed' };
    const forced = accepted({ disks: [disk('vda', GiB)], asks: { mode: 'proxy-vm' }, missing });
    expect(forced.modeReason).toBe(
      'proxy-vm was chosen (forced by the request) but is not available: no appliance is installed',
    );
    expect(forced.rejected).toEqual([{ what: 'mode proxy-vm', why: 'no appliance is installed' }]);
  });

  test('an incremental that was asked for and cannot be had becomes a full, said per disk and for the whole', () => {
    const full = accepted({ disks: [disk('vda', GiB)], asks: { kind: 'incremental' } });
    expect(full.disks[0]?.kindReason).toBe('FormatWithoutTracking: raw images have no dirty bitmaps');
    expect(full.kind).toBe('full');
    expect(full.rejected).toContainEqual({
      what: 'incremental',
      why: 'no disk has usable change tracking (vda: FormatWithoutTracking: raw images have no dirty bitmaps)',
    });
  });

  test('one disk without tracking is a full of that disk alone', () => {
    const mixed = accepted({ disks: [disk('vda', GiB, { allocated: GiB, changed: MiB }), disk('vdb', GiB)] });
    expect(mixed.disks.map((d) => d.kind)).toEqual(['incremental', 'full']);
    expect(mixed.rejected.map((r) => r.what)).not.toContain('incremental');
  });

  test('what limited the quantity, and to what effect', () => {
    const limited = accepted({
      disks: [disk('vda', 640 * GiB)],
      policy: { maxProxiesPerHost: 3, maxPortsPerProxy: 2 },
    });
    expect(limited.limitedBy).toEqual([
      {
        limit: 'maxPortsPerProxy',
        value: 2,
        effect: 'a proxy VM runs 2 child jobs at a time instead of 4: each holds 1 of its 2 ports',
      },
      {
        limit: 'maxProxiesPerHost',
        value: 3,
        effect: '3 of the 20 proxy VMs calculated: 40 child jobs run in 7 waves instead of 1',
      },
    ]);
  });

  test('a proxy with too few ports for a child job is not counted as shareable', () => {
    const result = plan(
      inspectionOf([disk('vda', 100 * GiB)]),
      request,
      Policy.parse({ portsPerChildJob: 2 }),
      {
        activeProxies: [
          { proxyId: 'p1', ports: 1 },
          { proxyId: 'p2', ports: 2 },
        ],
      },
    );
    expect(result.ok && result.value.expectedShared).toBe(1);
  });
});

describe('a plan is refused', () => {
  test('when a child job needs more ports than a proxy has, also where the mode would need no proxy', () => {
    const policy = { maxPortsPerProxy: 2, portsPerChildJob: 3 };
    for (const mode of ['auto', 'direct-to-host'] as const) {
      expect(planFor({ disks: [disk('vda', GiB)], policy, asks: { mode } })).toEqual({
        ok: false,
        refusal: {
          code: 'NoChildJobFits',
          message:
            'Policy default lets no child job run on a proxy VM: min(maxChildJobsPerProxy 4, floor(maxPortsPerProxy 2 / portsPerChildJob 3)) is 0.',
          wayOut: 'Set maxPortsPerProxy to at least 3 (or portsPerChildJob to at most 2) in policy default.',
        },
      });
    }
  });

  test('when the policy allows no child job at all', () => {
    for (const policy of [{ maxChildJobsPerProxy: 0 }, { portsPerChildJob: 0 }, { maxPortsPerProxy: 0 }]) {
      expect(planFor({ disks: [disk('vda', GiB)], policy })).toMatchObject({
        refusal: { code: 'NoChildJobFits', wayOut: expect.stringContaining(Object.keys(policy)[0] ?? '') },
      });
    }
  });

  test('when the mode is not available and the policy wants no other', () => {
    expect(
      planFor({
        disks: [disk('vda', GiB)],
        asks: { mode: 'proxy-vm' },
        policy: { whenModeUnavailable: 'refuse' },
        missing: { 'proxy-vm': 'no appliance is installed' },
      }),
    ).toMatchObject({
      refusal: {
        code: 'ModeUnavailable',
        message:
          'Mode proxy-vm (forced by the request) is not available for VM web-1: no appliance is installed.',
        wayOut: expect.stringContaining('use-other'),
      },
    });
  });

  test('when no mode is available, naming what is in the way of each', () => {
    const result = planFor({
      disks: [disk('vda', GiB)],
      policy: { maxProxiesPerHost: 0 },
      missing: { 'direct-to-host': 'the host serves no exports' },
    });
    expect(result).toMatchObject({ refusal: { code: 'ModeUnavailable' } });
    expect(!result.ok && result.refusal.message).toMatch(/serves no exports.*maxProxiesPerHost is 0/);
  });

  test('when it is more than an event can carry, with the number that would do', () => {
    const disks = [disk('vda', TiB), disk('vdb', GiB)];
    const refused = planFor({ disks, policy: { childJobBytes: 64 * MiB } });
    expect(refused).toMatchObject({ refusal: { code: 'TooManyChildJobs' } });
    const needed = Number(/at least (\d+)/.exec((!refused.ok && refused.refusal.wayOut) || '')?.[1]);
    expect(planFor({ disks, policy: { childJobBytes: needed } }).ok).toBe(true);
    // With the longest names there can be, the largest plan is still an event that is taken.
    const longest = [disk('d'.repeat(63), CHILD_JOBS_MAX * GiB)];
    const most = planFor({ disks: longest, policy: { childJobBytes: GiB } });
    expect(most.ok && most.value.childJobs).toHaveLength(CHILD_JOBS_MAX);
    expect(most.ok && JSON.stringify(most.value).length).toBeLessThan(EVENT_DATA_BYTES_MAX);
  });

  test('when the VM has no disks', () => {
    expect(planFor({ disks: [] })).toMatchObject({ refusal: { code: 'VmHasNoDisks' } });
  });
});

function planFor({
  disks,
  policy = {},
  asks = {},
  missing = {},
  active = 0,
}: Omit<Case, 'name' | 'planned'>) {
  const activeProxies = Array.from({ length: active }, (_, i) => ({ proxyId: `p${i}`, ports: 4 }));
  return plan(inspectionOf(disks, missing), { ...request, ...asks }, Policy.parse(policy), { activeProxies });
}

function accepted(given: Omit<Case, 'name' | 'planned'>): Plan {
  const result = planFor(given);
  if (!result.ok) throw new Error(`Refused: ${result.refusal.message}`);
  return result.value;
}

const line = (p: Plan): string =>
  `${p.kind} ${p.mode} | jobs ${p.disks.map((d) => d.childJobs).join('+')} | ` +
  `proxies ${p.proxiesCalculated} -> ${p.proxies} (${p.expectedShared} shared) | waves ${p.waves}`;
