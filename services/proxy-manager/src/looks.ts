/**
 * Looks at a host, one at a time and each with a deadline: a file system may hang and never fail. One that is late is not believed when it
 * comes after all, and until then there is no other, which would only hang as well and keep another thread of the process.
 */
import type { HypervisorHost, Observation } from '@backhaul/hypervisor';
import { describeError, withDeadline } from '@backhaul/kernel';
import type { Health } from '@backhaul/service';

/** A look asks for all that there is at once, and each of those waits has a time-out of some seconds. */
export const LOOK_MILLISECONDS_MAX = 60_000;

export class Looks {
  readonly #host: HypervisorHost;
  readonly #milliseconds: number;
  #underWay = false;
  #finishedAt = Date.now();
  /** Why none after it was. */
  #failure: string | undefined;

  constructor(host: HypervisorHost, milliseconds: number) {
    this.#host = host;
    this.#milliseconds = milliseconds;
  }

  /** None is under way, not even one that was given up. */
  get free(): boolean {
    return !this.#underWay;
  }

  /** From here on it is looked at. */
  begin(): void {
    this.#finishedAt = Date.now();
    this.#failure = undefined;
  }

  async look(): Promise<Observation> {
    this.#underWay = true;
    const answer = this.#host.observe().finally(() => {
      this.#underWay = false;
    });
    try {
      const what = `Looking at host ${this.#host.hostId}`;
      const seen = await withDeadline(what, this.#milliseconds, () => answer);
      this.#finishedAt = Date.now();
      this.#failure = undefined;
      return seen;
    } catch (error) {
      this.#failure = describeError(error);
      throw error;
    }
  }

  health(): Health {
    if (this.#failure === undefined || Date.now() - this.#finishedAt < this.#milliseconds)
      return { ok: true, detail: 'open' };
    const since = new Date(this.#finishedAt).toISOString();
    return { ok: false, detail: `no look at it has finished since ${since}: ${this.#failure}` };
  }
}
