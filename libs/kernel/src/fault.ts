/**
 * Faults: the world failed (a disk, a socket, a server). They are thrown, carry their cause, and say whether trying
 * again can help, because the one place at the edge that retries must not guess.
 */
import { listed, shortened } from './wording.ts';

export class Fault extends Error {
  override readonly name: string = 'Fault';
  /** True when the same call can never succeed: retrying would only hide the error. */
  readonly permanent: boolean;
  /** A stable code where one is known, such as `ImageCorrupt` or `EIO`. */
  readonly code: string | undefined;

  constructor(message: string, options: { cause?: unknown; permanent?: boolean; code?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.permanent = options.permanent ?? false;
    this.code = options.code;
  }
}

/** True for a fault, or anything caused by one, that no retry can mend. */
export function isPermanent(error: unknown): boolean {
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof Fault && current.permanent) return true;
  }
  return false;
}

/** Whether a fault with one of these codes is anywhere in the chain of causes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof Fault && current.code !== undefined && codes.includes(current.code)) return true;
  }
  return false;
}

/** Of one cause, and of all together: descriptions become reasons in events. */
const CAUSE_CHARACTERS_MAX = 4_000;
const CHARACTERS_MAX = 16_000;

/** The whole chain of causes on one line, outermost first: the real error is never hidden behind the last one, nor behind a long one. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let current = error; current !== undefined && current !== null; ) {
    if (current instanceof AggregateError && current.message === '') {
      parts.push(listed(current.errors.map(describeError), 20, '; '));
      break;
    }
    if (!(current instanceof Error)) {
      parts.push(shortened(String(current), CAUSE_CHARACTERS_MAX));
      break;
    }
    const message = shortened(current.message, CAUSE_CHARACTERS_MAX);
    if (!parts.some((part) => part.includes(message))) parts.push(message);
    current = current.cause;
  }
  return shortened(parts.join(': '), CHARACTERS_MAX);
}
