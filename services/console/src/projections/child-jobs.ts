/** Child jobs: what portion each has, through which ports it reads, and how much of it has arrived. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded, Projection, Selection } from '../projection.ts';

type ChildJobView = consoleApi.ChildJobView;
type Row = Folded<ChildJobView>;

export const childJobs: Projection<ChildJobView> = {
  table: 'child_jobs',
  key: ['childJobId'],
  columns: {
    childJobId: 'text',
    backupId: 'text',
    hostId: 'text',
    vmId: 'text',
    diskId: 'text',
    state: 'text',
    kind: 'text',
    offset: 'bigint',
    length: 'bigint',
    estimatedBytes: 'bigint',
    attempt: 'integer',
    wave: 'integer',
    leaseId: 'text',
    ports: 'json',
    proxyId: 'text',
    receivedBytes: 'bigint',
    readBytes: 'bigint',
    storedBytes: 'bigint',
    zeroBytes: 'bigint',
    chunks: 'bigint',
    resumedBytes: 'bigint',
    interruptions: 'integer',
    lastInterruption: 'text',
    startedAt: 'instant',
    completedAt: 'instant',
    firstPosition: 'bigint',
    ordinal: 'integer',
    position: 'bigint',
  },
  indexes: [['firstPosition', 'ordinal'], ['backupId']],
  concerns(event): Selection<ChildJobView>[] {
    switch (event.type) {
      case 'ProxiesCalculated':
        return event.data.childJobs.map(({ childJobId }) => ({ childJobId }));
      case 'PortsLeased':
      case 'PortsReleased':
      case 'ChildJobStarted':
      case 'ChunkReceived':
      case 'ChildJobCompleted':
      case 'ChildJobInterrupted':
        return [{ childJobId: event.data.childJobId }];
      case 'BackupFailed':
      case 'BackupCancelled':
        return [{ backupId: event.data.backupId }];
      default:
        return [];
    }
  },
  evolve(row, event, selection) {
    if (event.type === 'ProxiesCalculated') return planned(event, selection);
    return row === undefined ? undefined : changed(row, event);
  },
};

function planned(event: Recorded<'ProxiesCalculated'>, selection: Selection<ChildJobView>): Row | undefined {
  const ordinal = event.data.childJobs.findIndex((job) => job.childJobId === selection.childJobId);
  const job = event.data.childJobs[ordinal];
  if (job === undefined) return undefined;
  return {
    ...job,
    backupId: event.data.backupId,
    hostId: event.data.hostId,
    vmId: event.data.vmId,
    state: 'waiting',
    kind: event.data.disks.find((disk) => disk.diskId === job.diskId)?.kind ?? null,
    attempt: 0,
    wave: null,
    leaseId: null,
    ports: [],
    proxyId: null,
    receivedBytes: 0,
    readBytes: 0,
    storedBytes: 0,
    zeroBytes: 0,
    chunks: 0,
    resumedBytes: 0,
    interruptions: 0,
    lastInterruption: null,
    startedAt: null,
    completedAt: null,
    firstPosition: event.position,
    ordinal,
  };
}

function changed(job: Row, event: Recorded): Row {
  switch (event.type) {
    case 'PortsLeased': {
      if (event.data.purpose !== 'backup') return job;
      const { leaseId, proxyId, attempt, wave, kind, ports } = event.data;
      return {
        ...job,
        state: ended(job) ? job.state : 'leased',
        leaseId,
        proxyId,
        attempt,
        wave,
        kind,
        ports: ports.map((port) => port.port),
      };
    }
    case 'PortsReleased':
      return job.leaseId === event.data.leaseId
        ? { ...job, state: waitsAgain(job.state, event.data.because), leaseId: null, ports: [] }
        : job;
    case 'ChildJobStarted': {
      const { attempt, proxyId, kind, resumedBytes, startedAt } = event.data;
      return {
        ...job,
        state: ended(job) ? job.state : 'running',
        attempt,
        proxyId,
        kind,
        resumedBytes,
        startedAt: job.startedAt ?? startedAt,
      };
    }
    case 'ChunkReceived': {
      const { length, readBytes, storedBytes, digest } = event.data;
      return {
        ...job,
        receivedBytes: job.receivedBytes + length,
        readBytes: job.readBytes + readBytes,
        storedBytes: job.storedBytes + storedBytes,
        zeroBytes: job.zeroBytes + (digest === null ? length : 0),
        chunks: job.chunks + 1,
      };
    }
    case 'ChildJobCompleted':
      return { ...job, state: 'completed', completedAt: event.data.completedAt };
    case 'ChildJobInterrupted':
      return {
        ...job,
        state: ended(job) ? job.state : 'interrupted',
        interruptions: job.interruptions + 1,
        lastInterruption: event.data.reason,
      };
    case 'BackupFailed':
    case 'BackupCancelled':
      return job.state === 'completed' ? job : { ...job, state: 'abandoned' };
    default:
      return job;
  }
}

const ended = (job: Row): boolean => job.state === 'completed' || job.state === 'abandoned';

/** One that was paused goes on later; of any other end of its lease the job says itself what it meant. */
export const waitsAgain = (state: Row['state'], because: string): Row['state'] =>
  state === 'leased' || (state === 'running' && because === 'paused') ? 'waiting' : state;
