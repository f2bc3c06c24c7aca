/** Proxies of every host: their state, who holds which port, and which disks are attached. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded, Projection, Selection } from '../projection.ts';

type ProxyView = consoleApi.ProxyView;
type Row = Folded<ProxyView>;

export const proxies: Projection<ProxyView> = {
  table: 'proxies',
  key: ['hostId', 'proxyId'],
  columns: {
    hostId: 'text',
    proxyId: 'text',
    kind: 'text',
    state: 'text',
    reason: 'text',
    backupId: 'text',
    ports: 'json',
    freePorts: 'integer',
    maxChildJobs: 'integer',
    attachments: 'json',
    leasesServed: 'integer',
    requestedAt: 'instant',
    activatedAt: 'instant',
    idleSince: 'instant',
    endedAt: 'instant',
    firstPosition: 'bigint',
    position: 'bigint',
  },
  indexes: [['firstPosition', 'proxyId'], ['backupId']],
  concerns(event): Selection<ProxyView>[] {
    switch (event.type) {
      case 'ProxyActivationRequested':
      case 'ProxyActivated':
      case 'ProxyLost':
      case 'ProxyDeactivated':
      case 'ProxyIdle':
      case 'DiskAttached':
      case 'DiskDetached':
      case 'DirectEndpointOpened':
      case 'PortsLeased':
      case 'PortsReleased':
        return [{ hostId: event.data.hostId, proxyId: event.data.proxyId }];
      // The host's own export of a snapshot is gone with the snapshot.
      case 'SnapshotReleased':
        return [{ hostId: event.data.hostId, backupId: event.data.backupId, kind: 'host-export' }];
      default:
        return [];
    }
  },
  evolve(row, event) {
    if (event.type === 'ProxyActivationRequested' || event.type === 'DirectEndpointOpened') {
      return opened(event);
    }
    return row === undefined ? undefined : changed(row, event);
  },
};

function opened(event: Recorded<'ProxyActivationRequested' | 'DirectEndpointOpened'>): Row {
  const { hostId, proxyId, backupId } = event.data;
  const asked = {
    hostId,
    proxyId,
    backupId,
    leasesServed: 0,
    requestedAt: event.recordedAt,
    idleSince: null,
    endedAt: null,
    firstPosition: event.position,
  };
  return event.type === 'ProxyActivationRequested'
    ? {
        ...asked,
        kind: 'proxy-vm',
        state: 'requested',
        reason: event.data.reason,
        ...withPorts([]),
        maxChildJobs: event.data.maxChildJobs,
        attachments: [],
        activatedAt: null,
      }
    : {
        ...asked,
        kind: 'host-export',
        state: 'active',
        reason: "The host's own export, for direct-to-host mode",
        ...withPorts(event.data.ports.map(free)),
        maxChildJobs: null,
        attachments: Object.entries(event.data.exports).map(([diskId, exportName]) => ({
          backupId,
          diskId,
          exportName,
        })),
        activatedAt: event.recordedAt,
      };
}

function changed(proxy: Row, event: Recorded): Row {
  switch (event.type) {
    case 'ProxyActivated':
      return {
        ...proxy,
        state: 'active',
        ...withPorts(event.data.ports.map(free)),
        activatedAt: event.recordedAt,
      };
    case 'ProxyIdle':
      return { ...proxy, state: 'idle', idleSince: event.data.since };
    case 'ProxyLost':
    case 'ProxyDeactivated':
      return {
        ...proxy,
        state: event.type === 'ProxyLost' ? 'lost' : 'deactivated',
        reason: event.data.reason,
        ...withPorts([]),
        attachments: [],
        idleSince: null,
        endedAt: proxy.endedAt ?? event.recordedAt,
      };
    case 'DiskAttached': {
      const { backupId, diskId, exportName } = event.data;
      const others = withoutDisk(proxy, event.data);
      return { ...proxy, attachments: [...others, { backupId, diskId, exportName }] };
    }
    case 'DiskDetached':
      return { ...proxy, attachments: withoutDisk(proxy, event.data) };
    case 'PortsLeased': {
      const { childJobId, leaseId } = event.data;
      const leased = new Set(event.data.ports.map((port) => port.port));
      return {
        ...proxy,
        state: proxy.state === 'idle' ? 'active' : proxy.state,
        idleSince: null,
        leasesServed: proxy.leasesServed + 1,
        ...withPorts(
          proxy.ports.map((port) =>
            leased.has(port.port) ? { ...port, heldBy: childJobId, leaseId } : port,
          ),
        ),
      };
    }
    // By lease, not by port number: a late release must not free a port that has its next holder already.
    case 'PortsReleased':
      return {
        ...proxy,
        ...withPorts(
          proxy.ports.map((port) =>
            port.leaseId === event.data.leaseId ? { ...port, heldBy: null, leaseId: null } : port,
          ),
        ),
      };
    case 'SnapshotReleased':
      return {
        ...proxy,
        state: 'deactivated',
        reason: 'Its snapshot was released',
        ...withPorts([]),
        attachments: [],
        endedAt: proxy.endedAt ?? event.recordedAt,
      };
    default:
      return proxy;
  }
}

const free = (port: { port: number; endpoint: string }): Row['ports'][number] => ({
  ...port,
  heldBy: null,
  leaseId: null,
});

const withPorts = (ports: Row['ports']): Pick<Row, 'ports' | 'freePorts'> => ({
  ports,
  freePorts: ports.filter((port) => port.heldBy === null).length,
});

const withoutDisk = (
  proxy: Row,
  { backupId, diskId }: { backupId: string; diskId: string },
): Row['attachments'] =>
  proxy.attachments.filter((held) => held.backupId !== backupId || held.diskId !== diskId);
