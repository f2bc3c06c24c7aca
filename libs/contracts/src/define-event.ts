import type { z } from 'zod';

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
