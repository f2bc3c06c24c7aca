/**
 * The door through which the pool's decisions leave: what is paid for by the second is given its time here and nowhere else, so that
 * no decision can forget it. The fold reads those times back (cost.ts): it knows no clock, and a replay counts the same seconds.
 */
import type { HostEvent } from './pool-state.ts';

export const dated = (events: readonly HostEvent[], at: string): HostEvent[] =>
  events.map((event) => datedOne(event, at));

function datedOne(event: HostEvent, at: string): HostEvent {
  switch (event.type) {
    case 'ProxyActivationRequested':
      return { ...event, data: { ...event.data, requestedAt: at } };
    case 'PortsLeased':
      return { ...event, data: { ...event.data, leasedAt: at } };
    case 'PortsReleased':
      return { ...event, data: { ...event.data, releasedAt: at } };
    default:
      return event;
  }
}
