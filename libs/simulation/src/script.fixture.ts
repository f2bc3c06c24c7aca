/** A small fleet on its one host, and what happens there as lines that can be checked on paper: seconds since the start, and what it was. */
import { defaultPolicy, type Event, type Policy } from '@backhaul/contracts';
import { invariant } from '@backhaul/kernel';
import { Chance } from './chance.ts';
import { calendarOf, hostsOf, workloadOf } from './described-workload.ts';
import { readFleet } from './fleet.ts';
import type { BackupResult } from './open-backup.ts';
import { simulateHost } from './simulate-host.ts';

/** Round numbers, so that sums can be done in the head. */
export const paperHost = {
  name: 'lab',
  inspectSeconds: 1,
  snapshotSeconds: 4,
  releaseSeconds: 5,
  proxyBootSeconds: 20,
  proxyStopSeconds: 3,
  attachSeconds: 10,
  detachSeconds: 2,
  directOpenSeconds: 1,
  childJobSeconds: 0,
  manifestSeconds: 1,
  portBytesPerSecond: '64MiB',
  proxyBytesPerSecond: '256MiB',
  directBytesPerSecond: '32MiB',
  bytesPerSecond: '1GiB',
};

/** At midnight, when the clock begins. */
export const atMidnight = { cron: '0 0 * * *' };

/** A VM without a restore point, all of whose disk is read. */
export const wholeVm = (name: string, size: string, more: object = {}) => ({
  name,
  disks: [{ name: 'vda', size, used: '100%' }],
  schedules: [atMidnight],
  restorePointAge: null,
  ...more,
});

export interface Script {
  readonly lines: readonly string[];
  readonly results: readonly BackupResult[];
  /** Seconds from the start to the restore point. */
  readonly completed: Readonly<Record<string, number>>;
}

export function scriptOf(
  described: { host?: object; vms: readonly object[] },
  policy: Partial<Policy> = {},
  hours = 1,
): Script {
  const fleet = readFleet({ hosts: [{ ...paperHost, ...described.host }], vms: described.vms });
  invariant(fleet.ok, fleet.ok ? '' : fleet.refusal.message);
  const start = Date.parse(fleet.value.start);
  const end = start + hours * 3_600_000;
  const calendar = calendarOf(fleet.value, start, end);
  const [host] = hostsOf(fleet.value);
  invariant(calendar.ok && host !== undefined, 'There is one host, and its schedules can be read');
  const ground = { start, end, calendar: calendar.value, chance: new Chance(1) };
  const workload = workloadOf(host, 'default', { ...defaultPolicy, ...policy }, ground);
  const lines: string[] = [];
  const results: BackupResult[] = [];
  simulateHost(workload, { start, end, latest: 2 * end - start, bucketMilliseconds: 60_000 }, new Chance(1), {
    result: (result) => results.push(result),
    event: (event, at) => {
      const line = lineOf(event);
      if (line !== undefined) lines.push(`${((at - start) / 1000).toFixed(0).padStart(4)} ${line}`);
    },
  });
  const completed = results
    .filter(({ completedAt }) => completedAt !== undefined)
    .map(({ vmId, completedAt = 0 }) => [vmId, (completedAt - start) / 1000]);
  return { lines, results, completed: Object.fromEntries(completed) };
}

const short = (proxyId: string): string => proxyId.split('-')[0] ?? proxyId;

/** Confirmations and decisions; what was asked for follows from them. */
function lineOf(event: Event): string | undefined {
  switch (event.type) {
    case 'SnapshotTaken':
    case 'SnapshotReleased':
    case 'ProxiesActivated':
    case 'RunClosed':
      return `${event.type} ${event.data.runId}`;
    case 'ProxyActivated':
    case 'ProxyDeactivated':
      return `${event.type} ${short(event.data.proxyId)}`;
    case 'DiskAttached':
    case 'DiskDetached':
      return `${event.type} ${event.data.runId}.${event.data.diskId} ${short(event.data.proxyId)}`;
    case 'ProxiesChosen':
      return `ProxiesChosen ${event.data.runId} ${event.data.proxies.map(({ proxyId, shared }) => `${short(proxyId)}${shared ? ' shared' : ''}`).join(' ')}`;
    case 'PortsLeased': {
      const { childJobId, proxyId, ports, wave } = event.data;
      return `PortsLeased ${childJobId} ${short(proxyId)}:${ports.map(({ port }) => port).join('+')} wave ${wave}`;
    }
    case 'PortsReleased':
      return `PortsReleased ${event.data.childJobId} ${event.data.because}`;
    default:
      return undefined;
  }
}
