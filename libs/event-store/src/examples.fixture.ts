/** Small events and contexts for the tests of this package. */
import { randomUUID } from 'node:crypto';
import type { Event } from '@backhaul/contracts';
import type { AppendContext } from './event-store.ts';

export const proxyIdle = (proxyId: string): Event<'ProxyIdle'> => ({
  type: 'ProxyIdle',
  data: { hostId: 'h1', proxyId, since: '2026-01-01T00:00:00Z' },
});

export const vmClaimed = (vmId: string): Event<'VmClaimed'> => ({
  type: 'VmClaimed',
  data: { hostId: 'h1', vmId, runId: 'b0b9b3a4-3d53-4c9e-9a0f-6a2f5a3c7d11' },
});

export const context = (commandId: string = randomUUID(), correlation = 'c1'): AppendContext => ({
  commandId,
  metadata: { correlation, causation: 'the test', actor: 'tests' },
});

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
