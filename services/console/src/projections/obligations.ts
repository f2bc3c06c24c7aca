/**
 * What was taken from a host and not confirmed as given back: a row is opened by the event that asks for the thing, and
 * removed by its confirmed inverse alone. An empty table means that nothing was left behind.
 */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded, Projection, Selection } from '../projection.ts';

type ObligationView = consoleApi.ObligationView;
type Row = Folded<ObligationView>;

const snapshotId = (data: { hostId: string; runId: string }): string =>
  `snapshot/${data.hostId}/${data.runId}`;
const targetId = (data: { hostId: string; runId: string }): string => `target/${data.hostId}/${data.runId}`;
const mountId = (data: { hostId: string; recoveryId: string }): string =>
  `mount/${data.hostId}/${data.recoveryId}`;
const KEPT = 'TargetKept or TargetDiscarded';
const PAUSED = ', kept for its paused run';
const FILLED = 'TargetFilled, TargetLeft or TargetDiscarded';
const proxyObligationId = (data: { hostId: string; proxyId: string }): string =>
  `proxy/${data.hostId}/${data.proxyId}`;
const attachmentId = (data: { hostId: string; proxyId: string; runId: string; diskId: string }): string =>
  `attachment/${data.hostId}/${data.proxyId}/${data.runId}/${data.diskId}`;
const leaseObligationId = (data: { hostId: string; leaseId: string }): string =>
  `lease/${data.hostId}/${data.leaseId}`;

export const obligations: Projection<ObligationView> = {
  table: 'obligations',
  key: ['obligationId'],
  columns: {
    obligationId: 'text',
    kind: 'text',
    hostId: 'text',
    runId: 'text',
    proxyId: 'text',
    diskId: 'text',
    childJobId: 'text',
    subject: 'text',
    state: 'text',
    openedBy: 'text',
    openedByEventId: 'text',
    openedAt: 'instant',
    firstPosition: 'bigint',
    closedBy: 'text',
    position: 'bigint',
  },
  indexes: [['firstPosition', 'obligationId'], ['hostId', 'proxyId'], ['runId']],
  concerns(event): Selection<ObligationView>[] {
    switch (event.type) {
      case 'SnapshotRequested':
      case 'SnapshotTaken':
      case 'SnapshotLost':
      case 'SnapshotReleased':
        return [{ obligationId: snapshotId(event.data) }];
      case 'TargetRequested':
      case 'TargetCreated':
      case 'TargetLost':
      case 'TargetKept':
      case 'TargetDiscarded':
      case 'TargetFilled':
      case 'TargetLeft':
        return [{ obligationId: targetId(event.data) }];
      case 'MountRequested':
      case 'MountOpened':
      case 'MountClosed':
        return [{ obligationId: mountId(event.data) }];
      case 'ProxyActivationRequested':
      case 'ProxyActivated':
      case 'ProxyLost':
        return [{ obligationId: proxyObligationId(event.data) }];
      // Confirmed gone: no process, no socket, and so no attachment either.
      case 'ProxyDeactivated':
        return [
          { obligationId: proxyObligationId(event.data) },
          { kind: 'attachment', hostId: event.data.hostId, proxyId: event.data.proxyId },
        ];
      case 'DiskAttachRequested':
      case 'DiskAttached':
      case 'DiskDetached':
        return [{ obligationId: attachmentId(event.data) }];
      case 'PortsLeased':
      case 'PortsReleased':
        return [{ obligationId: leaseObligationId(event.data) }];
      case 'RunPaused':
      case 'RunResumed':
        return (['snapshot', 'target'] as const).map((kind) => ({ kind, runId: event.data.runId }));
      default:
        return [];
    }
  },
  evolve(row, event) {
    switch (event.type) {
      case 'SnapshotRequested':
        return opened(event, {
          obligationId: snapshotId(event.data),
          kind: 'snapshot',
          subject: `Snapshot of VM ${event.data.vmId}`,
          closedBy: 'SnapshotReleased',
        });
      case 'TargetRequested':
        return opened(event, {
          obligationId: targetId(event.data),
          kind: 'target',
          subject: `Disks of VM ${event.data.vmId} to be`,
          closedBy: event.data.mounts === undefined ? KEPT : FILLED,
        });
      case 'MountRequested':
        return opened(event, {
          obligationId: mountId(event.data),
          kind: 'mount',
          subject: `Mount that VM ${event.data.vmId} starts from`,
          closedBy: 'MountClosed',
        });
      case 'ProxyActivationRequested':
        return opened(event, {
          obligationId: proxyObligationId(event.data),
          kind: 'proxy',
          proxyId: event.data.proxyId,
          subject: `Proxy ${event.data.proxyId} with ${event.data.ports} ports`,
          closedBy: 'ProxyDeactivated',
        });
      case 'DiskAttachRequested':
        return opened(event, {
          obligationId: attachmentId(event.data),
          kind: 'attachment',
          proxyId: event.data.proxyId,
          diskId: event.data.diskId,
          subject: `Disk ${event.data.diskId} at proxy ${event.data.proxyId}`,
          closedBy: 'DiskDetached',
        });
      case 'PortsLeased':
        return {
          ...opened(event, {
            obligationId: leaseObligationId(event.data),
            kind: 'lease',
            proxyId: event.data.proxyId,
            diskId: event.data.diskId,
            childJobId: event.data.childJobId,
            subject: `Port ${event.data.ports.map((port) => port.port).join(', ')} of proxy ${event.data.proxyId} for ${event.data.purpose === 'backup' ? 'child job' : 'data stream'} ${event.data.childJobId}`,
            closedBy: 'PortsReleased',
          }),
          state: 'standing',
        };
      // It runs, and is not whole.
      case 'TargetKept':
        return row?.closedBy === FILLED ? row : undefined;
      case 'SnapshotTaken':
      case 'TargetCreated':
      case 'MountOpened':
      case 'ProxyActivated':
      case 'DiskAttached':
        return row === undefined ? undefined : { ...row, state: 'standing' };
      // Whoever looks for what was left behind is told that this was not.
      case 'RunPaused':
        return row === undefined ? undefined : { ...row, subject: `${row.subject}${PAUSED}` };
      case 'RunResumed':
        return row === undefined ? undefined : { ...row, subject: row.subject.replace(PAUSED, '') };
      case 'SnapshotLost':
      case 'TargetLost':
      case 'ProxyLost':
        return row === undefined ? undefined : { ...row, state: 'lost' };
      case 'SnapshotReleased':
      case 'TargetFilled':
      case 'TargetLeft':
      case 'TargetDiscarded':
      case 'MountClosed':
      case 'ProxyDeactivated':
      case 'DiskDetached':
      case 'PortsReleased':
        return undefined;
      default:
        return row;
    }
  },
};

const opened = (
  event: Recorded<
    | 'SnapshotRequested'
    | 'TargetRequested'
    | 'MountRequested'
    | 'ProxyActivationRequested'
    | 'DiskAttachRequested'
    | 'PortsLeased'
  >,
  what: Pick<Row, 'obligationId' | 'kind' | 'subject' | 'closedBy'> & Partial<Row>,
): Row => ({
  hostId: event.data.hostId,
  runId: 'runId' in event.data ? event.data.runId : event.data.recoveryId,
  proxyId: null,
  diskId: null,
  childJobId: null,
  state: 'requested',
  openedBy: event.type,
  openedByEventId: event.eventId,
  openedAt: event.recordedAt,
  firstPosition: event.position,
  ...what,
});
