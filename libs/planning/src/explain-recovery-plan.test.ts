import { GiB, MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { explainRecoveryPlan } from './explain-recovery-plan.ts';
import { planRecovery } from './plan-recovery.ts';
import { recoveryAsked, recoveryInspectionOf, toWrite } from './recoveries.fixture.ts';

test('the second quantity can be redone on paper', () => {
  const result = planRecovery(
    recoveryAsked({ recoveryId: 'r1', backupId: 'b1' }, { maxProxiesPerHost: 1, maxStreamsPerDisk: 4 }),
    recoveryInspectionOf([toWrite('vda', 200 * GiB, 90 * GiB), toWrite('vdb', 40 * GiB, 6 * MiB)]),
    { activeProxies: [{ proxyId: 'p1', ports: 4 }] },
  );
  expect(result.ok && explainRecoveryPlan(result.value)).toMatchInlineSnapshot(`
    [
      "Recovery r1 of backup b1 to VM web-2 on host lab: proxy-vm, policy default.",
      "Disk vda (200 GiB): 90 GiB to write in 4 data streams.",
      "Disk vdb (40 GiB): 6 MiB to write in 1 data stream.",
      "Mode proxy-vm: 90 GiB to write against a threshold of 4 GiB: at or above it, at 2250.2 %.",
      "Data streams: 2 disks * maxStreamsPerDisk 4 = 8, 5 of them used, for 90 GiB in all.",
      "One proxy VM runs min(maxChildJobsPerProxy 4, floor(maxPortsPerProxy 4 / portsPerStream 1)) = 4 data streams at a time.",
      "Proxy VMs calculated: ceil(8 * portsPerStream 1 / maxPortsPerProxy 4) = 2; used: 1, 1 of them expected to be shared with the 1 already active.",
      "The data streams run in 2 waves.",
      "Limited by streamBytesMin = 4194304: 5 data streams instead of 8: one is worth at least 4 MiB of data, of which there is too little on vdb.",
      "Limited by maxProxiesPerHost = 1: 1 of the 2 proxy VMs calculated: 5 data streams run in 2 waves instead of 1.",
    ]
  `);
});

test('a quantity that is more than the ports alone ask for says both numbers', () => {
  const result = planRecovery(
    recoveryAsked({}, { portsPerStream: 3, maxPortsPerProxy: 5 }),
    recoveryInspectionOf([toWrite('vda', 200 * GiB), toWrite('vdb', 40 * GiB)]),
    { activeProxies: [] },
  );
  expect(result.ok && explainRecoveryPlan(result.value).slice(-4)).toMatchInlineSnapshot(`
    [
      "One proxy VM runs min(maxChildJobsPerProxy 4, floor(maxPortsPerProxy 5 / portsPerStream 3)) = 1 data stream at a time.",
      "Proxy VMs calculated: ceil(4 * portsPerStream 3 / maxPortsPerProxy 5) = 3 by ports alone, ceil(4 / 1) = 4 by what one can run; used: 4, all to be started.",
      "The data streams run in 1 wave.",
      "Limited by maxPortsPerProxy = 5: a data stream holds 3 ports of one proxy VM, and 2 of its 5 are left over: 4 proxy VMs calculated instead of 3.",
    ]
  `);
});

test('a recovery straight to the host says that it needs no proxy, and why', () => {
  const result = planRecovery(
    recoveryAsked({ recoveryId: 'r1', backupId: 'b1' }),
    recoveryInspectionOf([toWrite('vda', GiB)]),
    { activeProxies: [] },
  );
  expect(result.ok && explainRecoveryPlan(result.value)).toMatchInlineSnapshot(`
    [
      "Recovery r1 of backup b1 to VM web-2 on host lab: direct-to-host, policy default.",
      "Disk vda (1 GiB): 1 GiB to write in 2 data streams.",
      "Mode direct-to-host: 1 GiB to write against a threshold of 4 GiB: below it, at 25 %.",
      "Data streams: 1 disk * maxStreamsPerDisk 2 = 2, all used, for 1 GiB in all.",
      "No proxy VMs: the host's own export serves 2 streams at a time, in 1 wave.",
    ]
  `);
});
