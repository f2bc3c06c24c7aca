/** The first row of a backup: what was asked, before anything was decided about it. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded } from '../projection.ts';
import { saidIn, textOr } from './request-text.ts';

type Row = Folded<consoleApi.BackupView>;

export function asked(event: Recorded<'BackupQueued' | 'BackupTriggered'>): Row {
  const { backupId, hostId, vmId, origin, policy, kind, mode, requestedAt } = event.data;
  return {
    ...blank(backupId, origin, event.position),
    hostId,
    vmId,
    policyId: policy.policyId,
    requestedKind: kind,
    requestedMode: mode,
    requestedAt,
  };
}

/** A request that was never accepted names its VM only in the text that came, if there. */
export function refusedUnread(event: Recorded<'BackupRefused'>): Row {
  const { backupId, origin, request, refusedAt } = event.data;
  const said = saidIn(request);
  return {
    ...blank(backupId, origin, event.position),
    hostId: textOr(said.host),
    vmId: textOr(said.vm),
    policyId: textOr(said.policy),
    requestedAt: refusedAt,
  };
}

const blank = (backupId: string, origin: Row['origin'], firstPosition: number): Row => ({
  backupId,
  hostId: null,
  vmId: null,
  state: 'triggered',
  stage: 'triggered',
  pausedAt: null,
  pauseReason: null,
  origin,
  policyId: null,
  requestedKind: null,
  requestedMode: null,
  behindRunId: null,
  parentBackupId: null,
  kind: null,
  mode: null,
  modeReason: null,
  proxiesCalculated: null,
  proxies: null,
  proxiesShared: null,
  waves: null,
  shortfall: null,
  diskBytes: 0,
  bytesToRead: 0,
  readBytes: 0,
  receivedBytes: 0,
  storedBytes: 0,
  zeroBytes: 0,
  chunks: 0,
  newChunks: 0,
  childJobs: 0,
  childJobsDone: 0,
  interruptions: 0,
  requestedAt: null,
  triggeredAt: null,
  plannedAt: null,
  snapshotAt: null,
  activatedAt: null,
  startedAt: null,
  endedAt: null,
  closedAt: null,
  portMilliseconds: null,
  refusal: null,
  manifestDigest: null,
  firstPosition,
});
