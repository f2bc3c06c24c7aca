import { type RecoveryAsked, RecoveryPlan } from '@backhaul/contracts';
import { GiB, MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { explainRecoveryPlan } from './explain-recovery-plan.ts';
import { planRecovery } from './plan-recovery.ts';
import { recoveryAsked, recoveryInspectionOf, toWrite } from './recoveries.fixture.ts';

const instant = { fillBytesPerSecond: 50 * MiB };
const idle = { activeProxies: [], runningProxies: 0 };
const inspection = {
  ...recoveryInspectionOf([toWrite('vda', 100 * GiB, 20 * GiB), toWrite('vdb', 10 * GiB)]),
  instant: { available: true },
};
const plan = (asks: Partial<RecoveryAsked>, found = inspection) =>
  planRecovery(recoveryAsked({ instant, ...asks }), found, idle as never);

test('an instant recovery is filled by its host: no proxy, no data stream, however much there is', () => {
  const planned = plan({});
  if (!planned.ok) throw new Error(planned.refusal.message);
  expect(RecoveryPlan.parse(planned.value)).toEqual(planned.value);
  expect(planned.value).toMatchObject({
    mode: 'direct-to-host',
    proxies: 0,
    childJobs: [],
    start: true,
    instant,
  });
  expect(explainRecoveryPlan(planned.value).slice(1)).toEqual([
    'Disk vda (100 GiB): 20 GiB to write.',
    'Disk vdb (10 GiB): 10 GiB to write.',
    'Mode direct-to-host: an instant recovery: the VM starts from a mount, and its host fills its disks behind it, at most 50 MiB/s.',
    'No proxy VM and no data stream: the VM reads 30 GiB by itself, while it runs.',
  ]);
});

test.each<[string, Partial<RecoveryAsked>, typeof inspection, RegExp]>([
  [
    'its host starts no VMs',
    {},
    { ...inspection, instant: { available: false, reason: 'it starts none' } as never },
    /starts none/,
  ],
  ['it replaces a VM', { replace: true }, inspection, /take the place/],
  ['all is to be compared', { verify: true }, inspection, /difference/],
  ['it is to go through proxies', { mode: 'proxy-vm' }, inspection, /proxies/],
])('it is refused with a way out where %s', (_, asks, found, why) => {
  expect(plan(asks, found)).toMatchObject({
    ok: false,
    refusal: {
      code: 'InstantUnavailable',
      message: expect.stringMatching(why),
      wayOut: expect.stringMatching(/instant start/),
    },
  });
});
