/**
 * Backups, from the request to the last thing given back: state, what was decided and why, and progress.
 * The state only moves forwards; what arrives after the end still counts, but changes the end no more.
 */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded, Projection } from '../projection.ts';
import { asked, refusedUnread } from './backup-request.ts';
import { outcomeOf, portMillisecondsOf, standingStill } from './standing-still.ts';

type BackupView = consoleApi.BackupView;
type Row = Folded<BackupView>;

export const backups: Projection<BackupView> = {
  table: 'backups',
  key: ['backupId'],
  columns: {
    backupId: 'text',
    hostId: 'text',
    vmId: 'text',
    state: 'text',
    stage: 'text',
    pausedAt: 'instant',
    pauseReason: 'text',
    origin: 'json',
    policyId: 'text',
    requestedKind: 'text',
    requestedMode: 'text',
    behindRunId: 'text',
    parentBackupId: 'text',
    kind: 'text',
    mode: 'text',
    modeReason: 'text',
    proxiesCalculated: 'integer',
    proxies: 'integer',
    proxiesShared: 'integer',
    waves: 'integer',
    shortfall: 'text',
    diskBytes: 'bigint',
    bytesToRead: 'bigint',
    readBytes: 'bigint',
    receivedBytes: 'bigint',
    storedBytes: 'bigint',
    zeroBytes: 'bigint',
    chunks: 'bigint',
    newChunks: 'bigint',
    childJobs: 'integer',
    childJobsDone: 'integer',
    interruptions: 'integer',
    requestedAt: 'instant',
    triggeredAt: 'instant',
    plannedAt: 'instant',
    snapshotAt: 'instant',
    activatedAt: 'instant',
    startedAt: 'instant',
    endedAt: 'instant',
    closedAt: 'instant',
    portMilliseconds: 'bigint',
    refusal: 'json',
    manifestDigest: 'text',
    firstPosition: 'bigint',
    position: 'bigint',
  },
  indexes: [['firstPosition'], ['state', 'firstPosition'], ['hostId', 'vmId', 'firstPosition']],
  concerns({ category, data }) {
    // A recovery names the backup that it recovers, and changes nothing about it.
    if (category === 'schedule' || 'recoveryId' in data) return [];
    if ('backupId' in data) return [{ backupId: data.backupId }];
    // Of a recovery's run no row stands, and none begins here.
    return 'runId' in data ? [{ backupId: data.runId }] : [];
  },
  evolve(row, event) {
    const known = row ?? begun(event);
    return known === undefined ? undefined : standingStill(known, event, changed, isEnded);
  },
};

function begun(event: Recorded): Row | undefined {
  switch (event.type) {
    case 'BackupQueued':
      return { ...asked(event), state: 'queued', stage: 'queued', behindRunId: event.data.behind };
    case 'BackupTriggered':
      return asked(event);
    case 'BackupRefused':
      return refusedUnread(event);
    default:
      return undefined;
  }
}

/** By its stage (standing-still.ts). */
function changed(backup: Row, event: Recorded): Row {
  switch (event.type) {
    case 'BackupTriggered':
      return {
        ...backup,
        state: 'triggered',
        triggeredAt: event.recordedAt,
        parentBackupId: event.data.parent?.backupId ?? null,
      };
    case 'BackupRefused':
      return ended(backup, 'refused', event.data.refusedAt, event.data.refusal);
    case 'ProxiesCalculated':
      return planned(backup, event);
    case 'PlanRefused':
      return ended(backup, 'refused', event.recordedAt, event.data.refusal);
    case 'ActivationRequested':
      return { ...backup, state: forwards(backup, 'activating') };
    case 'ProxiesChosen':
      return {
        ...backup,
        proxies: event.data.proxies.length,
        proxiesShared: event.data.proxies.filter((proxy) => proxy.shared).length,
        shortfall: event.data.shortfall,
      };
    case 'SnapshotTaken':
      return { ...backup, snapshotAt: event.data.takenAt };
    case 'ProxiesActivated':
      return activated(backup, event);
    case 'ChildJobStarted':
      return {
        ...backup,
        state: forwards(backup, 'transferring'),
        startedAt: backup.startedAt ?? event.data.startedAt,
      };
    case 'ChunkReceived':
      return received(backup, event);
    case 'ChildJobCompleted':
      return { ...backup, childJobsDone: backup.childJobsDone + 1 };
    case 'ChildJobInterrupted':
      return { ...backup, interruptions: backup.interruptions + 1 };
    case 'BackupCompleted':
      return {
        ...ended(backup, 'completed', event.data.completedAt, null),
        kind: event.data.kind,
        mode: event.data.mode,
        manifestDigest: event.data.restorePoint.manifestDigest,
      };
    case 'BackupFailed':
      return ended(backup, outcomeOf(event.data), event.data.failedAt, event.data.refusal);
    // The transfer still has to end; what it says then stands beside the host's reason.
    case 'RunFailed':
      return isEnded(backup) ? backup : { ...backup, refusal: event.data.refusal };
    case 'BackupCancelled':
      return ended(backup, 'cancelled', event.recordedAt, {
        code: 'Cancelled',
        message: `Cancelled by ${event.data.cancelledBy}: ${event.data.reason}`,
      });
    case 'VmReleased':
      return isEnded(backup) ? backup : ended(backup, event.data.outcome, event.recordedAt, backup.refusal);
    case 'RunClosed':
      return { ...backup, closedAt: event.recordedAt, portMilliseconds: portMillisecondsOf(event) };
    default:
      return backup;
  }
}

function planned(backup: Row, { data: plan, recordedAt }: Recorded<'ProxiesCalculated'>): Row {
  return {
    ...backup,
    state: forwards(backup, 'planned'),
    kind: plan.kind,
    mode: plan.mode,
    modeReason: plan.modeReason,
    proxiesCalculated: plan.proxiesCalculated,
    proxies: plan.proxies,
    proxiesShared: plan.expectedShared,
    waves: plan.waves,
    childJobs: plan.childJobs.length,
    diskBytes: sum(plan.disks, (disk) => disk.sizeBytes),
    bytesToRead: sum(plan.disks, (disk) => disk.bytesToRead),
    plannedAt: recordedAt,
  };
}

function activated(backup: Row, { data, recordedAt }: Recorded<'ProxiesActivated'>): Row {
  return {
    ...backup,
    state: forwards(backup, 'transferring'),
    proxies: data.mode === 'proxy-vm' ? data.proxies.length : 0,
    proxiesShared: data.mode === 'proxy-vm' ? data.proxies.filter((proxy) => proxy.shared).length : 0,
    shortfall: data.shortfall,
    activatedAt: recordedAt,
  };
}

function received(backup: Row, { data }: Recorded<'ChunkReceived'>): Row {
  return {
    ...backup,
    readBytes: backup.readBytes + data.readBytes,
    receivedBytes: backup.receivedBytes + data.length,
    storedBytes: backup.storedBytes + data.storedBytes,
    zeroBytes: backup.zeroBytes + (data.digest === null ? data.length : 0),
    chunks: backup.chunks + 1,
    newChunks: backup.newChunks + (data.storedBytes > 0 ? 1 : 0),
  };
}

const order = ['queued', 'triggered', 'planned', 'activating', 'transferring'];
const isEnded = (backup: Row): boolean => !order.includes(backup.state);

/** The state asked for, unless the backup is further on already. */
const forwards = (backup: Row, state: Row['state']): Row['state'] =>
  isEnded(backup) || order.indexOf(backup.state) > order.indexOf(state) ? backup.state : state;

/** The first end is the end. */
function ended(backup: Row, state: consoleApi.BackupOutcome, at: string, refusal: Row['refusal']): Row {
  return isEnded(backup) ? backup : { ...backup, state, endedAt: at, refusal };
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);
