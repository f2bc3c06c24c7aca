/**
 * Recoveries, from the request to the VM that stands at the end: state, what was decided and why, and progress. The state
 * only moves forwards; what arrives after the end still counts, but changes the end no more.
 */
import type { consoleApi, Recorded, RecoveryTotals } from '@backhaul/contracts';
import type { Folded, Projection } from '../projection.ts';
import { asked, refusedUnread } from './recovery-request.ts';
import { outcomeOf, portMillisecondsOf, standingStill } from './standing-still.ts';

type RecoveryView = consoleApi.RecoveryView;
type Row = Folded<RecoveryView>;

export const recoveries: Projection<RecoveryView> = {
  table: 'recoveries',
  key: ['recoveryId'],
  columns: {
    recoveryId: 'text',
    backupId: 'text',
    sourceHostId: 'text',
    sourceVmId: 'text',
    takenAt: 'instant',
    hostId: 'text',
    vmId: 'text',
    diskIds: 'text[]',
    state: 'text',
    stage: 'text',
    pausedAt: 'instant',
    pauseReason: 'text',
    origin: 'json',
    policyId: 'text',
    requestedMode: 'text',
    behindRunId: 'text',
    replace: 'boolean',
    start: 'boolean',
    verify: 'boolean',
    instant: 'boolean',
    machine: 'json',
    mode: 'text',
    modeReason: 'text',
    proxiesCalculated: 'integer',
    proxies: 'integer',
    proxiesShared: 'integer',
    waves: 'integer',
    shortfall: 'text',
    diskBytes: 'bigint',
    bytesToWrite: 'bigint',
    writtenBytes: 'bigint',
    verifiedBytes: 'bigint',
    zeroBytes: 'bigint',
    chunks: 'bigint',
    dataStreams: 'integer',
    dataStreamsDone: 'integer',
    filledBytes: 'bigint',
    interruptions: 'integer',
    started: 'boolean',
    notStarted: 'text',
    refusal: 'json',
    alternative: 'json',
    requestedAt: 'instant',
    triggeredAt: 'instant',
    plannedAt: 'instant',
    activatedAt: 'instant',
    exportingAt: 'instant',
    exportedAt: 'instant',
    runningAt: 'instant',
    endedAt: 'instant',
    closedAt: 'instant',
    portMilliseconds: 'bigint',
    firstPosition: 'bigint',
    position: 'bigint',
  },
  indexes: [['firstPosition'], ['state', 'firstPosition'], ['hostId', 'vmId', 'firstPosition'], ['backupId']],
  concerns({ data }) {
    if ('recoveryId' in data) return [{ recoveryId: data.recoveryId }];
    // Of a backup's run no row stands, and none begins here.
    return 'runId' in data ? [{ recoveryId: data.runId }] : [];
  },
  evolve(row, event) {
    const known = row ?? begun(event);
    return known === undefined ? undefined : standingStill(known, event, changed, isEnded);
  },
};

function begun(event: Recorded): Row | undefined {
  switch (event.type) {
    case 'RecoveryQueued':
      return { ...asked(event), state: 'queued', stage: 'queued', behindRunId: event.data.behind };
    case 'RecoveryTriggered':
      return asked(event);
    case 'RecoveryRefused':
      return refusedUnread(event);
    default:
      return undefined;
  }
}

/** By its stage (standing-still.ts). */
function changed(recovery: Row, event: Recorded): Row {
  switch (event.type) {
    case 'RecoveryTriggered':
      return { ...recovery, state: 'triggered', triggeredAt: event.recordedAt };
    case 'RecoveryRefused':
      return ended(recovery, 'refused', event.data.refusedAt, event.data.refusal);
    case 'RecoveryProxiesCalculated':
      return planned(recovery, event);
    case 'RecoveryPlanRefused':
      return ended(recovery, 'refused', event.recordedAt, event.data.refusal);
    case 'ActivationRequested':
      return { ...recovery, state: forwards(recovery, 'activating') };
    case 'ProxiesChosen':
      return {
        ...recovery,
        proxies: event.data.proxies.length,
        proxiesShared: event.data.proxies.filter((proxy) => proxy.shared).length,
        shortfall: event.data.shortfall,
      };
    case 'ProxiesActivated':
      return activated(recovery, event);
    case 'ExportJobStarted':
      return {
        ...recovery,
        state: forwards(recovery, 'exporting'),
        exportingAt: recovery.exportingAt ?? event.data.startedAt,
      };
    case 'ChunkExported':
      return {
        ...recovery,
        writtenBytes: recovery.writtenBytes + event.data.length,
        chunks: recovery.chunks + 1,
      };
    case 'ExportJobCompleted':
      return {
        ...recovery,
        verifiedBytes: recovery.verifiedBytes + event.data.verifiedBytes,
        zeroBytes: recovery.zeroBytes + event.data.zeroBytes,
        // One that was done under an earlier lease says so again under the next.
        dataStreamsDone: Math.min(recovery.dataStreams, recovery.dataStreamsDone + 1),
      };
    case 'ExportJobInterrupted':
      return { ...recovery, interruptions: recovery.interruptions + 1 };
    case 'DataExported':
      return {
        ...recovery,
        ...countedOnce(event.data.totals),
        dataStreamsDone: recovery.dataStreams,
        state: forwards(recovery, 'defining'),
        exportedAt: event.data.exportedAt,
      };
    case 'TargetKept':
      return recovery.instant
        ? {
            ...recovery,
            state: forwards(recovery, 'filling'),
            started: event.data.started,
            runningAt: event.recordedAt,
          }
        : recovery;
    case 'FillProgressed':
    case 'TargetFilled':
      return { ...recovery, filledBytes: Math.max(recovery.filledBytes, event.data.filledBytes) };
    case 'FillInterrupted':
      return { ...recovery, interruptions: recovery.interruptions + 1 };
    case 'RecoveryCompleted': {
      const { completedAt, started, notStarted } = event.data;
      return isEnded(recovery)
        ? recovery
        : { ...ended(recovery, 'completed', completedAt, null), started, notStarted };
    }
    case 'RecoveryFailed': {
      const { failedAt, refusal, alternative } = event.data;
      return isEnded(recovery)
        ? recovery
        : { ...ended(recovery, outcomeOf(event.data), failedAt, refusal), alternative };
    }
    // The export still has to end; what it says then stands beside the host's reason.
    case 'RunFailed':
      return isEnded(recovery) ? recovery : { ...recovery, refusal: event.data.refusal };
    case 'RecoveryCancelled':
      return ended(recovery, 'cancelled', event.recordedAt, {
        code: 'Cancelled',
        message: `Cancelled by ${event.data.cancelledBy}: ${event.data.reason}`,
      });
    case 'VmReleased':
      return ended(recovery, event.data.outcome, event.recordedAt, recovery.refusal);
    case 'RunClosed':
      return { ...recovery, closedAt: event.recordedAt, portMilliseconds: portMillisecondsOf(event) };
    default:
      return recovery;
  }
}

/** What was added up until then may have counted a data stream twice. */
const countedOnce = ({ writtenBytes, verifiedBytes, zeroBytes, chunks }: RecoveryTotals) => ({
  ...{ writtenBytes, verifiedBytes, zeroBytes, chunks },
});

function planned(recovery: Row, { data: plan, recordedAt }: Recorded<'RecoveryProxiesCalculated'>): Row {
  return {
    ...recovery,
    state: forwards(recovery, 'planned'),
    mode: plan.mode,
    modeReason: plan.modeReason,
    proxiesCalculated: plan.proxiesCalculated,
    proxies: plan.proxies,
    proxiesShared: plan.expectedShared,
    waves: plan.waves,
    dataStreams: plan.childJobs.length,
    diskBytes: sum(plan.disks, (disk) => disk.sizeBytes),
    bytesToWrite: sum(plan.disks, (disk) => disk.bytesToWrite),
    plannedAt: recordedAt,
  };
}

function activated(recovery: Row, { data, recordedAt }: Recorded<'ProxiesActivated'>): Row {
  return {
    ...recovery,
    state: forwards(recovery, 'exporting'),
    proxies: data.mode === 'proxy-vm' ? data.proxies.length : 0,
    proxiesShared: data.mode === 'proxy-vm' ? data.proxies.filter((proxy) => proxy.shared).length : 0,
    shortfall: data.shortfall,
    activatedAt: recordedAt,
  };
}

const order = ['queued', 'triggered', 'planned', 'activating', 'exporting', 'defining', 'filling'];
const isEnded = (recovery: Row): boolean => !order.includes(recovery.state);

/** The state asked for, unless the recovery is further on already. */
const forwards = (recovery: Row, state: Row['state']): Row['state'] =>
  isEnded(recovery) || order.indexOf(recovery.state) > order.indexOf(state) ? recovery.state : state;

/** The first end is the end. */
function ended(recovery: Row, state: consoleApi.BackupOutcome, at: string, refusal: Row['refusal']): Row {
  return isEnded(recovery) ? recovery : { ...recovery, state, endedAt: at, refusal };
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);
