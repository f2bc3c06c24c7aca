/**
 * What proxies cost, from the times that events carry. A proxy is paid for from the moment it was asked of the host until it is
 * confirmed gone; of that, ports held by child jobs are its use. A run's part of the bill is what it held of them: the parts of all
 * runs add up to the use of all proxies. Not known (undefined) is what began before events had times.
 */
import type { EventData } from '@backhaul/contracts';
import type { Lease, PooledProxy } from './pool-state.ts';

/** Ports times the time that they were held, in milliseconds: whole numbers, which add up exactly. */
export function portMilliseconds(lease: Lease, release: EventData<'PortsReleased'>): number | undefined {
  if (lease.leasedAt === undefined || release.releasedAt === undefined) return undefined;
  return release.ports.length * millisecondsBetween(lease.leasedAt, release.releasedAt);
}

export const sumOf = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a + b;

export type Use = Pick<PooledProxy, 'requestedAt' | 'portMilliseconds' | 'runs'>;

export function costOf({ requestedAt, portMilliseconds, runs }: Use, until: string): ProxyCost | undefined {
  if (requestedAt === undefined || portMilliseconds === undefined) return undefined;
  const upSeconds = millisecondsBetween(requestedAt, until) / 1000;
  return { upSeconds, busyPortSeconds: portMilliseconds / 1000, runs };
}

type ProxyCost = NonNullable<EventData<'ProxyDeactivated'>['cost']>;

/** Several clocks give these times, and one that was set back must not make a cost negative. */
const millisecondsBetween = (from: string, to: string): number =>
  Math.max(0, Date.parse(to) - Date.parse(from));
