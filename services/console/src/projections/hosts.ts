/** Hosts: what they are, how many runs they carry, and where they were found to differ from the events. */
import type { consoleApi } from '@backhaul/contracts';
import type { Folded, Projection } from '../projection.ts';

type HostView = consoleApi.HostView;
type Row = Folded<HostView>;

export const hosts: Projection<HostView> = {
  table: 'hosts',
  key: ['hostId'],
  columns: {
    hostId: 'text',
    kind: 'text',
    address: 'text',
    registeredAt: 'instant',
    openRuns: 'integer',
    proxyCost: 'json',
    drifts: 'integer',
    lastDrift: 'json',
    position: 'bigint',
  },
  indexes: [],
  concerns(event) {
    switch (event.type) {
      case 'HostRegistered':
      case 'ActivationRequested':
      case 'RunClosed':
      case 'ProxyDeactivated':
      case 'DriftFound':
        return [{ hostId: event.data.hostId }];
      default:
        return [];
    }
  },
  evolve(row, event) {
    switch (event.type) {
      case 'HostRegistered': {
        const { hostId, kind, address } = event.data;
        return { ...(row ?? blank(hostId)), kind, address, registeredAt: event.recordedAt };
      }
      case 'ActivationRequested': {
        const host = row ?? blank(event.data.hostId);
        return { ...host, openRuns: host.openRuns + 1 };
      }
      case 'RunClosed': {
        const host = row ?? blank(event.data.hostId);
        return { ...host, openRuns: Math.max(0, host.openRuns - 1) };
      }
      case 'ProxyDeactivated': {
        const { hostId, cost } = event.data;
        if (cost === undefined) return row;
        const host = row ?? blank(hostId);
        const { proxies, upSeconds, busyPortSeconds } = host.proxyCost;
        return {
          ...host,
          proxyCost: {
            proxies: proxies + 1,
            upSeconds: sumOf(upSeconds, cost.upSeconds),
            busyPortSeconds: sumOf(busyPortSeconds, cost.busyPortSeconds),
          },
        };
      }
      case 'DriftFound': {
        const { hostId, ...drift } = event.data;
        const host = row ?? blank(hostId);
        return { ...host, drifts: host.drifts + 1, lastDrift: { ...drift, at: event.recordedAt } };
      }
      default:
        return row;
    }
  },
};

/** Each is whole milliseconds: what floating point makes of many must not show. */
const sumOf = (a: number, b: number): number => Math.round((a + b) * 1000) / 1000;

const blank = (hostId: string): Row => ({
  hostId,
  kind: null,
  address: null,
  registeredAt: null,
  openRuns: 0,
  proxyCost: { proxies: 0, upSeconds: 0, busyPortSeconds: 0 },
  drifts: 0,
  lastDrift: null,
});
