/** What a look makes of a thing. One that fails has found out nothing: that is kept apart from what is known to be wrong. */
import type { Sighting } from '@backhaul/contracts';
import { describeError, Fault } from '@backhaul/kernel';

export interface Sighted {
  readonly state: Sighting;
  /** What is wrong, or why that cannot be told; empty of what is alive. */
  readonly detail: string;
}

/** `look` says what is wrong, or undefined; it throws when it got no answer. */
export async function sight(look: () => Promise<string | undefined>): Promise<Sighted> {
  try {
    const wrong = await look();
    return wrong === undefined ? { state: 'alive', detail: '' } : { state: 'gone', detail: wrong };
  } catch (error) {
    return { state: 'silent', detail: describeError(error) };
  }
}

/** Retryable, for as long as whoever looks has not said that they are lost (libs/pool, given-up.ts). */
export const disksSilent = (what: string, { detail }: Sighted): Fault =>
  new Fault(`${what} does not answer now: ${detail}`, { code: 'DisksSilent' });
