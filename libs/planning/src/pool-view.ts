/** Which proxies of a host are up, as far as a plan needs to know: folded from the host's own stream. */
import type { Event } from '@backhaul/contracts';
import type { PoolView } from './plan.ts';

export const emptyView: PoolView = { activeProxies: [] };

export function evolveView(pool: PoolView, event: Event): PoolView {
  switch (event.type) {
    case 'ProxyActivated': {
      const { proxyId, ports } = event.data;
      const others = without(pool, proxyId);
      return { activeProxies: [...others, { proxyId, ports: ports.length }] };
    }
    case 'ProxyLost':
    case 'ProxyDeactivated':
      return { activeProxies: without(pool, event.data.proxyId) };
    default:
      return pool;
  }
}

const without = (pool: PoolView, proxyId: string): PoolView['activeProxies'] =>
  pool.activeProxies.filter((proxy) => proxy.proxyId !== proxyId);
