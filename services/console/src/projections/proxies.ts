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
    runId: 'text',
    ports: 'json',
    freePorts: 'integer',
    maxChildJobs: 'integer',
    attachments: 'json',
    leasesServed: 'integer',
    health: 'text',
    healthDetail: 'text',
    movedBytes: 'bigint',
    movedPortMilliseconds: 'bigint',
    cost: 'json',
    requestedAt: 'instant',
    activatedAt: 'instant',
    idleSince: 'instant',
    endedAt: 'instant',
    firstPosition: 'bigint',
    position: 'bigint',
  },
  indexes: [['firstPosition', 'proxyId'], ['runId']],
  concerns(event): Selection<ProxyView>[] {
    switch (event.type) {
      case 'ProxyActivationRequested':
      case 'ProxyActivated':
      case 'ProxyLost':
      case 'ProxyDeactivated':
      case 'ProxyIdle':
      case 'ProxyDraining':
      case 'ProxyHealthChanged':
      case 'ProxyThroughputObserved':
      case 'DiskAttached':
      case 'DiskDetached':
      case 'DirectEndpointOpened':
      case 'PortsLeased':
      case 'PortsReleased':
        return [{ hostId: event.data.hostId, proxyId: event.data.proxyId }];
      // The host's own export of disks is gone with them; those that are served again are opened again.
      case 'SnapshotLost':
      case 'SnapshotReleased':
      case 'TargetLost':
      case 'TargetKept':
      case 'TargetDiscarded':
        return [{ hostId: event.data.hostId, runId: event.data.runId, kind: 'host-export' }];
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
  const { hostId, proxyId, runId } = event.data;
  const asked = {
    hostId,
    proxyId,
    runId,
    leasesServed: 0,
    health: 'good' as const,
    healthDetail: '',
    movedBytes: 0,
    movedPortMilliseconds: 0,
    cost: null,
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
          runId,
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
    case 'ProxyDraining':
      return { ...proxy, state: 'draining', reason: event.data.reason };
    case 'ProxyHealthChanged':
      return { ...proxy, health: event.data.health, healthDetail: event.data.detail };
    case 'ProxyThroughputObserved':
      return {
        ...proxy,
        movedBytes: proxy.movedBytes + event.data.bytes,
        movedPortMilliseconds: proxy.movedPortMilliseconds + Math.round(event.data.portSeconds * 1000),
      };
    case 'ProxyLost':
    case 'ProxyDeactivated':
      return {
        ...proxy,
        cost: event.type === 'ProxyDeactivated' ? (event.data.cost ?? null) : null,
        state: event.type === 'ProxyLost' ? 'lost' : 'deactivated',
        reason: event.data.reason,
        ...nothingLeft(proxy, event),
      };
    case 'DiskAttached': {
      const { runId, diskId, exportName } = event.data;
      const others = withoutDisk(proxy, event.data);
      return { ...proxy, attachments: [...others, { runId, diskId, exportName }] };
    }
    case 'DiskDetached':
      return { ...proxy, attachments: withoutDisk(proxy, event.data) };
    case 'PortsLeased': {
      const { childJobId, leaseId, purpose } = event.data;
      const leased = new Set(event.data.ports.map((port) => port.port));
      return {
        ...proxy,
        state: proxy.state === 'idle' ? 'active' : proxy.state,
        idleSince: null,
        leasesServed: proxy.leasesServed + 1,
        ...withPorts(
          proxy.ports.map((port) =>
            leased.has(port.port) ? { ...port, heldBy: childJobId, purpose, leaseId } : port,
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
            port.leaseId === event.data.leaseId
              ? { ...port, heldBy: null, purpose: null, leaseId: null }
              : port,
          ),
        ),
      };
    case 'SnapshotLost':
    case 'TargetLost':
      return { ...proxy, state: 'lost', reason: event.data.reason, ...nothingLeft(proxy, event) };
    case 'SnapshotReleased':
    case 'TargetKept':
    case 'TargetDiscarded':
      return { ...proxy, state: 'deactivated', reason: whyGone[event.type], ...nothingLeft(proxy, event) };
    default:
      return proxy;
  }
}

const whyGone = {
  SnapshotReleased: 'Its snapshot was released',
  TargetKept: 'Its disks are a VM now',
  TargetDiscarded: 'Its disks were discarded',
};

const nothingLeft = (proxy: Row, { recordedAt }: Recorded): Partial<Row> => ({
  ...withPorts([]),
  attachments: [],
  idleSince: null,
  endedAt: proxy.endedAt ?? recordedAt,
});

const free = (port: { port: number; endpoint: string }): Row['ports'][number] => ({
  ...port,
  heldBy: null,
  purpose: null,
  leaseId: null,
});

const withPorts = (ports: Row['ports']): Pick<Row, 'ports' | 'freePorts'> => ({
  ports,
  freePorts: ports.filter((port) => port.heldBy === null).length,
});

const withoutDisk = (proxy: Row, { runId, diskId }: { runId: string; diskId: string }): Row['attachments'] =>
  proxy.attachments.filter((held) => held.runId !== runId || held.diskId !== diskId);
