import { ok as nodeAssert } from 'node:assert/strict';

/**
 * States what must be true if the program is right. A failure is a bug: nothing catches it, the process ends and
 * starts again from its events.
 */
export function invariant(condition: unknown, message: string): asserts condition {
  nodeAssert(condition, message);
}

/** For the default branch of a `switch` that covers every case. */
export function unreachable(value: never): never {
  throw new Error(`A case was not handled: ${JSON.stringify(value)}`);
}
