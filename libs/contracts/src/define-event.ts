import type { z } from 'zod';

/**
 * What the data of one event may come to, as JSON in UTF-8. An event is one message of NATS, which carries 1 MiB with its headers unless its
 * server is told otherwise; a larger one would be stored and never told to anybody, nor anything behind it.
 */
export const EVENT_DATA_BYTES_MAX = 900 * 1024;

/**
 * The declaration of one type of event: its name, the stream category it lives in, and the shape of its newest schema
 * version. Stored shapes only grow: a new field is optional or comes with an upcaster from the version before.
 */
export interface EventDefinition<Type extends string, Category extends string, Schema extends z.ZodType> {
  readonly type: Type;
  readonly category: Category;
  readonly schemaVersion: number;
  readonly data: Schema;
  /** `upcasters[n]` turns data of schema version n + 1 into that of n + 2. Pure; history is never rewritten. */
  readonly upcasters: readonly ((data: unknown) => unknown)[];
}

/** Upcaster to a version that has fields which may be absent. */
export const unchanged = (stored: unknown): unknown => stored;

export function defineEvent<
  const Type extends string,
  const Category extends string,
  Schema extends z.ZodType,
>(
  category: Category,
  type: Type,
  data: Schema,
  upcasters: readonly ((data: unknown) => unknown)[] = [],
): EventDefinition<Type, Category, Schema> {
  return { type, category, schemaVersion: upcasters.length + 1, data, upcasters };
}
