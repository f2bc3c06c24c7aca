/**
 * Work that is done under a lease of ports ends when the lease does. The host's stream says when: its run was paused, cancelled or has
 * failed, or its disks or its proxy were lost. A lease that was released before its message was heard begins no work, because its ports may
 * be somebody else's by then.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Recorded } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import type { LogReader } from './event-store.ts';

/** How long work goes on after its lease has ended, at most. */
const LOOK_MILLISECONDS = 250;

type Leased = Recorded<'PortsLeased'>;

export interface LeaseHold {
  /** Aborts when the lease has ended, or when the caller's own signal does. */
  readonly signal: AbortSignal;
  /** Asked of the log. Work that failed under a lease that has ended was cut off, and has not failed. */
  hasEnded(): Promise<boolean>;
}

export class LeaseWatch {
  readonly #log: LogReader;
  readonly #onFault: (reason: string) => void;
  /** Work under way, by lease: a message that comes twice may be worked at twice for a moment. */
  readonly #held = new Map<string, Set<AbortController>>();
  #isLooking = false;

  constructor(log: LogReader, onFault: (reason: string) => void = () => undefined) {
    this.#log = log;
    this.#onFault = onFault;
  }

  /** Does the work, unless the lease has ended, and says how it ended. What it throws because of that end is swallowed: there is nothing to try again. */
  async whileHeld<End>(
    leased: Leased,
    signal: AbortSignal,
    work: (hold: LeaseHold) => Promise<End>,
  ): Promise<End | undefined> {
    const ended = new AbortController();
    // Before the log is asked: what is said between the two is heard by one of them.
    const letGo = this.#hold(leased.data.leaseId, ended);
    try {
      const { hasEnded, readTo } = await this.#askLog(leased);
      if (hasEnded) return undefined;
      this.#lookFrom(readTo);
      return await work({
        signal: AbortSignal.any([signal, ended.signal]),
        hasEnded: async () => ended.signal.aborted || (await this.#askLog(leased)).hasEnded,
      });
    } catch (error) {
      if (!ended.signal.aborted || signal.aborted) throw error;
      return undefined;
    } finally {
      letGo();
    }
  }

  #hold(leaseId: string, ended: AbortController): () => void {
    const held = this.#held.get(leaseId) ?? new Set();
    this.#held.set(leaseId, held.add(ended));
    return () => {
      held.delete(ended);
      if (held.size === 0) this.#held.delete(leaseId);
    };
  }

  async #askLog({ data, position }: Leased): Promise<{ hasEnded: boolean; readTo: number }> {
    const filter = { types: ['PortsReleased'] as const, correlation: data.runId };
    for (let after = position; ; ) {
      const page = await this.#log.readLog(after, filter);
      for (const event of page.events)
        if (event.type === 'PortsReleased' && event.data.leaseId === data.leaseId)
          return { hasEnded: true, readTo: page.next };
      if (page.next >= page.highWater) return { hasEnded: false, readTo: page.next };
      after = page.next;
    }
  }

  /** One look for all that is held, and none while nothing is. */
  #lookFrom(position: number): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    void this.#look(position);
  }

  async #look(from: number): Promise<void> {
    for (let after = from; this.#held.size > 0; ) {
      try {
        const page = await this.#log.readLog(after, { types: ['PortsReleased'] });
        for (const event of page.events)
          if (event.type === 'PortsReleased')
            for (const ended of this.#held.get(event.data.leaseId) ?? []) ended.abort();
        after = page.next;
        if (page.next < page.highWater) continue;
      } catch (error) {
        // Work goes on, and ends by what it meets: a look that fails now is made again.
        this.#onFault(describeError(error));
      }
      await pause(LOOK_MILLISECONDS, undefined, { ref: false });
    }
    // In the same moment: whoever holds a lease from here on begins a look of its own.
    this.#isLooking = false;
  }
}
