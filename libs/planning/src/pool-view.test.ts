import type { Event } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { emptyView, evolveView } from './pool-view.ts';

test('a pool holds the proxies that were activated and are neither lost nor deactivated', () => {
  const activated = (proxyId: string, ports: number): Event => ({
    type: 'ProxyActivated',
    data: {
      hostId: 'lab',
      proxyId,
      ports: Array.from({ length: ports }, (_, port) => ({ port, endpoint: 'nbd://127.0.0.1:1' })),
    },
  });
  const ended = (type: 'ProxyLost' | 'ProxyDeactivated', proxyId: string): Event => ({
    type,
    data: { hostId: 'lab', proxyId, reason: 'idle' },
  });
  const pool = fold(evolveView, emptyView, [
    activated('p1', 4),
    activated('p2', 2),
    activated('p3', 4),
    activated('p2', 2),
    ended('ProxyLost', 'p1'),
    ended('ProxyDeactivated', 'p3'),
  ]);
  expect(pool).toEqual({ activeProxies: [{ proxyId: 'p2', ports: 2 }] });
});
