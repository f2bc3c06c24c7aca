/** The log that a deployment would have written while it did what a simulation does: a way to have a history of a host that is known. */
import type { Event, Inspection, Recorded } from '@backhaul/contracts';
import { Chance } from './chance.ts';
import { simulateHost } from './simulate-host.ts';
import type { BackupRequest, Workload } from './workload.ts';

/** Every VM is asked for once, and all of its disks is read. */
export function recordedBy(workload: Workload, period: { start: number; end: number }): Recorded[] {
  const log: Recorded[] = [];
  const record = (event: Event, at: number): void => {
    const recordedAt = new Date(at).toISOString();
    log.push({ ...event, position: log.length + 1, recordedAt } as Recorded);
  };
  const inspections = new Map<string, Inspection>();
  const requests = workload.requests.map((request) => ({
    ...request,
    inspect(...asked: Parameters<typeof request.inspect>) {
      const inspection = request.inspect(...asked);
      inspections.set(request.vmId, inspection);
      return inspection;
    },
  }));
  const leases = new Map<string, { lease: Lease; at: number }>();
  const event = (event: Event, at: number): void => {
    if (event.type === 'ActivationRequested') {
      const { vmId, runId } = event.data;
      const request = requests.find((each) => each.vmId === vmId);
      const inspection = inspections.get(vmId);
      if (request === undefined || inspection === undefined) throw new Error(`VM ${vmId} was not inspected`);
      record(triggered(runId, inspection.hostId, request), request.at);
      record({ type: 'VmInspected', data: { ...inspection, backupId: runId } }, at);
    }
    const ended = event.type === 'PortsReleased' ? leases.get(event.data.leaseId) : undefined;
    if (ended !== undefined) record(completed(ended.lease, at - ended.at, at), at);
    record(event, at);
    if (event.type === 'PortsLeased') {
      leases.set(event.data.leaseId, { lease: event.data, at });
      record(started(event.data, at), at);
    }
  };
  const latest = period.end + 3_600_000;
  const whole = { ...period, latest, bucketMilliseconds: 60_000 };
  simulateHost({ ...workload, requests }, whole, new Chance(1), { result: () => undefined, event });
  return log;
}

type Lease = Event<'PortsLeased'>['data'];

const triggered = (backupId: string, hostId: string, request: BackupRequest): Event<'BackupTriggered'> => {
  const { vmId, kind, mode, policy, priority } = request;
  const asked = { backupId, hostId, vmId, kind, mode, policy, priority, parent: null };
  const origin = { via: 'nats' as const, requestId: backupId };
  return {
    type: 'BackupTriggered',
    data: { ...asked, origin, requestedAt: new Date(request.at).toISOString() },
  };
};

const held = ({ hostId, vmId, runId: backupId, childJobId, diskId, ...lease }: Lease) => {
  const { leaseId, fence, attempt, proxyId } = lease;
  return { backupId, hostId, vmId, childJobId, diskId, leaseId, fence, attempt, proxyId };
};

const started = (lease: Lease, at: number): Event<'ChildJobStarted'> => ({
  type: 'ChildJobStarted',
  data: {
    ...held(lease),
    ...{ offset: lease.offset, length: lease.length, kind: 'full', kindReason: null, resumedBytes: 0 },
    ...{ ports: lease.ports.map(({ port }) => port), startedAt: new Date(at).toISOString() },
  },
});

const completed = (lease: Lease, milliseconds: number, at: number): Event<'ChildJobCompleted'> => ({
  type: 'ChildJobCompleted',
  data: {
    ...held(lease),
    ...{ readBytes: lease.length, resumedBytes: 0, chunks: 0, storedBytes: lease.length, zeroBytes: 0 },
    ...{ milliseconds, completedAt: new Date(at).toISOString() },
  },
});
