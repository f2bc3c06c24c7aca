/** The first row of a recovery: what was asked, before anything was decided about it. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded } from '../projection.ts';
import { saidIn, textOr } from './request-text.ts';

type Row = Folded<consoleApi.RecoveryView>;

export function asked(event: Recorded<'RecoveryQueued' | 'RecoveryTriggered'>): Row {
  const { recoveryId, backupId, source, restorePoint, hostId, vmId, disks, policy, mode } = event.data;
  const { replace, start, verify, instant, machine, origin, requestedAt } = event.data;
  return {
    ...blank(recoveryId, origin, event.position),
    backupId,
    sourceHostId: source.hostId,
    sourceVmId: source.vmId,
    takenAt: restorePoint.takenAt,
    hostId,
    vmId,
    diskIds: disks,
    policyId: policy.policyId,
    requestedMode: mode,
    replace,
    start,
    verify,
    instant: instant !== undefined,
    machine,
    requestedAt,
  };
}

/** A request that was never accepted names its VM only in the text that came, if there. */
export function refusedUnread(event: Recorded<'RecoveryRefused'>): Row {
  const { recoveryId, origin, request, refusedAt } = event.data;
  const said = saidIn(request);
  return {
    ...blank(recoveryId, origin, event.position),
    backupId: textOr(said.backup),
    hostId: textOr(said.host),
    vmId: textOr(said.vm),
    policyId: textOr(said.policy),
    requestedAt: refusedAt,
  };
}

const blank = (recoveryId: string, origin: Row['origin'], firstPosition: number): Row => ({
  recoveryId,
  backupId: null,
  sourceHostId: null,
  sourceVmId: null,
  takenAt: null,
  hostId: null,
  vmId: null,
  diskIds: [],
  state: 'triggered',
  stage: 'triggered',
  pausedAt: null,
  pauseReason: null,
  origin,
  policyId: null,
  requestedMode: null,
  behindRunId: null,
  replace: false,
  start: false,
  verify: false,
  instant: false,
  machine: null,
  mode: null,
  modeReason: null,
  proxiesCalculated: null,
  proxies: null,
  proxiesShared: null,
  waves: null,
  shortfall: null,
  diskBytes: 0,
  bytesToWrite: 0,
  writtenBytes: 0,
  verifiedBytes: 0,
  zeroBytes: 0,
  chunks: 0,
  dataStreams: 0,
  dataStreamsDone: 0,
  filledBytes: 0,
  interruptions: 0,
  started: null,
  notStarted: null,
  refusal: null,
  alternative: null,
  requestedAt: null,
  triggeredAt: null,
  plannedAt: null,
  activatedAt: null,
  exportingAt: null,
  exportedAt: null,
  runningAt: null,
  endedAt: null,
  closedAt: null,
  portMilliseconds: null,
  firstPosition,
});
