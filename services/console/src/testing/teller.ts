/** How a story is put together: what is told, of which stream, in which order; and how a log would record it. */
import {
  type Category,
  categoryOf,
  type Event,
  type EventData,
  type EventType,
  type Recorded,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';

/** An event and where it belongs, not recorded yet. `correlation` as the services give it. */
export interface Told {
  readonly stream: StreamName;
  readonly event: Event;
  readonly correlation: string;
}

/** What is told of a proxy belongs to the run that it was started for, whichever others it serves; the rest is the host's. */
const OF_A_PROXY = new Set<EventType>([
  'ProxyActivated',
  'ProxyHealthChanged',
  'ProxyLost',
  'ProxyIdle',
  'ProxyDeactivated',
]);
const OF_THE_HOST = new Set<EventType>(['HostRegistered', 'DriftFound']);

export const instantAt = (second: number): string =>
  new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString();

export type Teller = ReturnType<typeof teller>;
/** `startedFor`: of proxies that were started for another run, which. */
export function teller(correlation: string, startedFor: Readonly<Record<string, string>> = {}) {
  const told: Told[] = [];
  const correlationOf = ({ type, data }: Event, stream: StreamName): string => {
    if (OF_THE_HOST.has(type)) return stream;
    return OF_A_PROXY.has(type) && 'proxyId' in data
      ? (startedFor[data.proxyId] ?? correlation)
      : correlation;
  };
  return {
    told,
    append<T extends EventType>(category: Category, id: string, type: T, data: EventData<T>): void {
      const event = { type, data } as unknown as Event;
      const stream = streamName(category, id);
      told.push({ stream, event, correlation: correlationOf(event, stream) });
    },
  };
}

/** As a log would record them: positions from 1, one second between events. */
export function recorded(told: readonly Told[], firstPosition = 1): Recorded[] {
  const versions = new Map<string, number>();
  return told.map(({ stream, event, correlation }, index) => {
    const version = (versions.get(stream) ?? 0) + 1;
    versions.set(stream, version);
    return {
      ...event,
      eventId: derivedId('told', stream, version),
      position: firstPosition + index,
      stream,
      category: categoryOf(stream),
      version,
      schemaVersion: 1,
      metadata: { correlation, causation: 'story', actor: 'story' },
      recordedAt: instantAt(firstPosition + index),
    } as Recorded;
  });
}
