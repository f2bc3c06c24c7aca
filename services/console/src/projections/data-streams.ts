/** Data streams of recoveries: what portion of a disk each has, through which ports it writes, and how much of it is written. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded, Projection, Selection } from '../projection.ts';
import { waitsAgain } from './child-jobs.ts';

type DataStreamView = consoleApi.DataStreamView;
type Row = Folded<DataStreamView>;

export const dataStreams: Projection<DataStreamView> = {
  table: 'data_streams',
  key: ['childJobId'],
  columns: {
    childJobId: 'text',
    recoveryId: 'text',
    hostId: 'text',
    vmId: 'text',
    diskId: 'text',
    state: 'text',
    offset: 'bigint',
    length: 'bigint',
    estimatedBytes: 'bigint',
    attempt: 'integer',
    wave: 'integer',
    leaseId: 'text',
    ports: 'json',
    proxyId: 'text',
    writtenBytes: 'bigint',
    verifiedBytes: 'bigint',
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
  indexes: [['firstPosition', 'ordinal'], ['recoveryId']],
  concerns(event): Selection<DataStreamView>[] {
    switch (event.type) {
      case 'RecoveryProxiesCalculated':
        return event.data.childJobs.map(({ childJobId }) => ({ childJobId }));
      case 'PortsLeased':
      case 'PortsReleased':
      case 'ExportJobStarted':
      case 'ChunkExported':
      case 'ExportJobCompleted':
      case 'ExportJobInterrupted':
        return [{ childJobId: event.data.childJobId }];
      case 'RecoveryFailed':
      case 'RecoveryCancelled':
        return [{ recoveryId: event.data.recoveryId }];
      default:
        return [];
    }
  },
  evolve(row, event, selection) {
    if (event.type === 'RecoveryProxiesCalculated') return planned(event, selection);
    return row === undefined ? undefined : changed(row, event);
  },
};

function planned(
  event: Recorded<'RecoveryProxiesCalculated'>,
  selection: Selection<DataStreamView>,
): Row | undefined {
  const ordinal = event.data.childJobs.findIndex((job) => job.childJobId === selection.childJobId);
  const job = event.data.childJobs[ordinal];
  if (job === undefined) return undefined;
  return {
    ...job,
    recoveryId: event.data.recoveryId,
    hostId: event.data.hostId,
    vmId: event.data.vmId,
    state: 'waiting',
    attempt: 0,
    wave: null,
    leaseId: null,
    ports: [],
    proxyId: null,
    writtenBytes: 0,
    verifiedBytes: 0,
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

function changed(stream: Row, event: Recorded): Row {
  switch (event.type) {
    case 'PortsLeased': {
      const { leaseId, proxyId, attempt, wave, ports } = event.data;
      return {
        ...stream,
        state: ended(stream) ? stream.state : 'leased',
        leaseId,
        proxyId,
        attempt,
        wave,
        ports: ports.map((port) => port.port),
      };
    }
    case 'PortsReleased':
      return stream.leaseId === event.data.leaseId
        ? {
            ...stream,
            state: waitsAgain(stream.state, event.data.because),
            leaseId: null,
            ports: [],
          }
        : stream;
    case 'ExportJobStarted': {
      const { attempt, proxyId, resumedBytes, startedAt } = event.data;
      return {
        ...stream,
        state: ended(stream) ? stream.state : 'running',
        attempt,
        proxyId,
        resumedBytes,
        startedAt: stream.startedAt ?? startedAt,
      };
    }
    case 'ChunkExported':
      return {
        ...stream,
        writtenBytes: stream.writtenBytes + event.data.length,
        chunks: stream.chunks + 1,
      };
    case 'ExportJobCompleted': {
      const { verifiedBytes, zeroBytes, completedAt } = event.data;
      return { ...stream, state: 'completed', verifiedBytes, zeroBytes, completedAt };
    }
    case 'ExportJobInterrupted':
      return {
        ...stream,
        state: ended(stream) ? stream.state : 'interrupted',
        interruptions: stream.interruptions + 1,
        lastInterruption: event.data.reason,
      };
    case 'RecoveryFailed':
    case 'RecoveryCancelled':
      return stream.state === 'completed' ? stream : { ...stream, state: 'abandoned' };
    default:
      return stream;
  }
}

const ended = (stream: Row): boolean => stream.state === 'completed' || stream.state === 'abandoned';
