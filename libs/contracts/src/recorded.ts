import type { Category, Event, EventType } from './catalogue.ts';

/** Why an event was recorded, and as part of what. */
export interface EventMetadata {
  /** The backup (or other process) this belongs to: one id from the request to the last event. */
  readonly correlation: string;
  /** The id of the event or request that led to this one; of what a service decided or saw by itself, the occasion (libs/pool, occasion.ts). */
  readonly causation: string;
  /** W3C Trace Context, when the causing message carried one. */
  readonly traceparent?: string;
  /** The service, and for a person's request the person. */
  readonly actor: string;
}

/** An event as the log keeps it. `position` orders the whole log, `version` (from 1) orders its stream. */
export type Recorded<T extends EventType = EventType> = Event<T> & {
  readonly eventId: string;
  readonly position: number;
  readonly stream: string;
  readonly category: Category;
  readonly version: number;
  readonly schemaVersion: number;
  readonly metadata: EventMetadata;
  readonly recordedAt: string;
};
