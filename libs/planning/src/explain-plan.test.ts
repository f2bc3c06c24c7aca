import { Policy } from '@backhaul/contracts';
import { GiB, TiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { explainPlan } from './explain-plan.ts';
import { disk, inspectionOf } from './inspections.fixture.ts';
import { type PlanRequest, plan } from './plan.ts';

const asked: PlanRequest = {
  ...{ backupId: 'b1', kind: 'auto', mode: 'auto', parent: null },
  ...{ priority: 'normal', askedAt: '2026-01-01T00:00:00.000Z' },
};

test('a plan through proxies reads from the disks to the waves', () => {
  const result = plan(
    inspectionOf([disk('vda', TiB, { allocated: TiB, changed: 10 * GiB }), disk('vdb', 200 * GiB)]),
    { ...asked, kind: 'incremental' },
    Policy.parse({ maxProxiesPerHost: 2 }),
    { activeProxies: [{ proxyId: 'p1', ports: 4 }] },
  );
  expect(result.ok && explainPlan(result.value)).toMatchInlineSnapshot(`
    [
      "Backup b1 of VM web-1 on host lab: incremental, proxy-vm, policy default.",
      "There is no earlier restore point to build on.",
      "Disk vda (1 TiB): incremental, because: changes are tracked since checkpoint cp-1; 10 GiB to read in 1 child job.",
      "Disk vdb (200 GiB): full, because: FormatWithoutTracking: raw images have no dirty bitmaps; 200 GiB to read in 13 child jobs.",
      "Mode proxy-vm: 200 GiB full against a threshold of 4 GiB and 10 GiB incremental against a threshold of 2 GiB: at or above it, at 5500 %.",
      "Child jobs: 1 + 13 = 14, at most 16 GiB each, at least one per disk, for 210 GiB in all.",
      "One proxy VM runs min(maxChildJobsPerProxy 4, floor(maxPortsPerProxy 4 / portsPerChildJob 1)) = 4 child jobs at a time.",
      "Proxy VMs calculated: ceil(14 / 4) = 4; used: 2, 1 of them expected to be shared with the 1 already active.",
      "The child jobs run in 2 waves.",
      "Limited by maxProxiesPerHost = 2: 2 of the 4 proxy VMs calculated: 14 child jobs run in 2 waves instead of 1.",
    ]
  `);
});

test('a plan straight from the host says that it needs no proxy, and why', () => {
  const result = plan(
    inspectionOf([disk('vda', 40 * GiB)], { 'proxy-vm': 'no appliance is installed' }),
    { ...asked, mode: 'proxy-vm' },
    Policy.parse({}),
    { activeProxies: [] },
  );
  expect(result.ok && explainPlan(result.value)).toMatchInlineSnapshot(`
    [
      "Backup b1 of VM web-1 on host lab: full, direct-to-host, policy default.",
      "There is no earlier restore point to build on.",
      "Disk vda (40 GiB): full, because: FormatWithoutTracking: raw images have no dirty bitmaps; 40 GiB to read in 3 child jobs.",
      "Mode direct-to-host: proxy-vm was chosen (forced by the request) but is not available: no appliance is installed.",
      "Child jobs: 3, at most 16 GiB each, at least one per disk, for 40 GiB in all.",
      "No proxy VMs: the host's own export serves 2 streams at a time, in 2 waves.",
      "Limited by maxDirectStreams = 2: 3 child jobs run in 2 waves of at most 2.",
      "Not used: mode proxy-vm, because: no appliance is installed.",
    ]
  `);
});
