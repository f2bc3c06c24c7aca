import { v5 } from 'uuid';

/** The namespace of every id that Backhaul derives: an id names its cause, so the same cause gives the same id. */
const BACKHAUL_NAMESPACE = 'b0b9b3a4-3d53-5c9e-9a0f-6a2f5a3c7d11';

/**
 * A UUID (version 5, RFC 9562 §5.5) derived from the parts that name a thing. The same parts give the same id in every
 * process and every release; parts are separated so that ("ab", "c") and ("a", "bc") differ.
 */
export const derivedId = (...parts: readonly (string | number)[]): string =>
  v5(JSON.stringify(parts), BACKHAUL_NAMESPACE);
