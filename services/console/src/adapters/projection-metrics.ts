/** What is measured of the projections. */
import type { EventStore } from '@backhaul/event-store';
import { Counter, Gauge, type Registry } from 'prom-client';
import { statusOf } from '../api/status-routes.ts';

export function projectionMetrics(registry: Registry, store: EventStore) {
  const registers = [registry];
  const projected = new Counter({
    name: 'backhaul_events_projected_total',
    help: 'Events this process has folded into projections, rebuilds included',
    registers,
  });
  new Gauge({
    name: 'backhaul_projections_behind_seconds',
    help: 'Age of the oldest event that no projection has seen; -1 while that cannot be known',
    registers,
    async collect() {
      const seconds = await statusOf(store).then(
        ({ behindMilliseconds }) => behindMilliseconds / 1000,
        () => -1,
      );
      this.set(seconds);
    },
  });
  return { onPage: ({ events }: { events: number }): void => projected.inc(events) };
}
