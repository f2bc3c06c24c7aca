/** What is counted in every service. Names say their unit; `consumer` is `<service>__<purpose>`. */
import type { EventStore } from '@backhaul/event-store';
import type { Health, Messaging, Observer } from '@backhaul/messaging';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

export interface ServiceMetrics {
  readonly registry: Registry;
  readonly observe: Observer;
  watchAppends(store: EventStore): void;
  watchRelay(messaging: Messaging): void;
  watchParts(parts: () => Readonly<Record<string, Health>>): void;
}

export function serviceMetrics(service: string): ServiceMetrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  // Event-loop delay, memory, garbage collection and file descriptors of the process.
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const appended = new Counter({
    name: 'backhaul_events_appended_total',
    help: 'Events this process has appended to the log',
    labelNames: ['type'],
    registers,
  });
  const published = new Counter({
    name: 'backhaul_events_published_total',
    help: 'Events this process has published from the log to NATS',
    labelNames: ['type'],
    registers,
  });
  const messages = new Counter({
    name: 'backhaul_messages_total',
    help: 'Messages by consumer and outcome: handled, skipped (seen before), let-go (another instance is at it), failed (tried again), dead-lettered',
    labelNames: ['consumer', 'outcome'],
    registers,
  });
  return {
    registry,
    observe(occurrence) {
      if (occurrence.kind === 'published') published.inc({ type: occurrence.type });
      else messages.inc({ consumer: occurrence.consumer, outcome: occurrence.kind });
    },
    watchAppends(store) {
      store.onAppended((events) => {
        for (const event of events) appended.inc({ type: event.type });
      });
    },
    watchParts(parts) {
      new Gauge({
        name: 'backhaul_part_ok',
        help: 'Parts of a service that stand alone, such as the hosts of a proxy-manager: 0 while one cannot be worked at',
        labelNames: ['part'],
        registers,
        collect() {
          for (const [part, { ok }] of Object.entries(parts())) this.set({ part }, ok ? 1 : 0);
        },
      });
    },
    watchRelay(messaging) {
      new Gauge({
        name: 'backhaul_relay_lag_seconds',
        help: 'Age of the oldest event that is appended and not published; -1 while that cannot be known',
        registers,
        async collect() {
          const lag = await messaging.health().then(
            ({ relay }) => relay.behindMilliseconds / 1000,
            () => -1,
          );
          this.set(lag);
        },
      });
    },
  };
}
