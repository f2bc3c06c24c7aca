/** What is counted at one simulated host while it goes: told by its events, so nothing is counted that did not happen. */
import { directProxyId, type HostEvent } from '@backhaul/pool';
import { Gauges } from './gauges.ts';

/** When the clock begins, when requests end, and when it stops at the latest; milliseconds since the epoch. */
export interface Period {
  readonly start: number;
  readonly end: number;
  readonly latest: number;
  /** Of the stretches of time that averages are of. */
  readonly bucketMilliseconds: number;
}

export class HostRecord {
  readonly gauges: Gauges;
  proxiesStarted = 0;
  /** Choices of a proxy that was up, or coming up, already. */
  proxiesShared = 0;
  proxiesLost = 0;
  events = 0;
  endedAt: number;
  readonly #portsUp = new Map<string, number>();

  constructor({ start, latest, bucketMilliseconds }: Period) {
    this.gauges = new Gauges(start, latest, bucketMilliseconds);
    this.endedAt = start;
  }

  advance(now: number, bytesPerSecond: number): void {
    this.gauges.set('bytesPerSecond', bytesPerSecond);
    this.gauges.advance(now);
    this.endedAt = now;
  }

  follow(event: HostEvent): void {
    this.events += 1;
    switch (event.type) {
      case 'ProxiesChosen':
        this.proxiesShared += event.data.proxies.filter(({ shared }) => shared).length;
        break;
      case 'ProxyActivationRequested':
        this.proxiesStarted += 1;
        this.gauges.add('proxiesUp', 1);
        break;
      case 'ProxyActivated':
        this.#portsUp.set(event.data.proxyId, event.data.ports.length);
        this.gauges.add('portsUp', event.data.ports.length);
        break;
      case 'ProxyLost':
        this.proxiesLost += 1;
        this.#portsDown(event.data.proxyId);
        break;
      case 'ProxyDeactivated':
        this.#portsDown(event.data.proxyId);
        this.gauges.add('proxiesUp', -1);
        break;
      case 'PortsLeased':
      case 'PortsReleased': {
        const { proxyId, runId, ports } = event.data;
        const gauge = proxyId === directProxyId(runId) ? 'directStreams' : 'portsInUse';
        this.gauges.add(gauge, event.type === 'PortsLeased' ? ports.length : -ports.length);
        break;
      }
    }
  }

  #portsDown(proxyId: string): void {
    this.gauges.add('portsUp', -(this.#portsUp.get(proxyId) ?? 0));
    this.#portsUp.delete(proxyId);
  }
}
