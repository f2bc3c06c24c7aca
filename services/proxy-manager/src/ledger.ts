/**
 * The pool of one host as far as the log tells it, kept up to date by reading on from where it stands: a host's stream
 * grows for months, and is read whole only once a process. One flow at a time may use it.
 */
import { randomUUID } from 'node:crypto';
import type { Event, EventMetadata } from '@backhaul/contracts';
import type { EventTransaction } from '@backhaul/event-store';
import { emptyPool, evolve, type HostEvent, hostStream, type Pool } from './pool.ts';

type Log = Pick<EventTransaction, 'readStreamPage' | 'append'>;

export class Ledger {
  readonly hostId: string;
  readonly #pool: Pool;
  readonly #metadata: EventMetadata;
  #version = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(hostId: string) {
    this.hostId = hostId;
    this.#pool = emptyPool(hostId);
    this.#metadata = { correlation: `host-${hostId}`, causation: `host-${hostId}`, actor: 'proxy-manager' };
  }

  /** Runs `work` on the pool as the log has it now, alone. `work` must not change the pool. */
  async read<T>(log: Log, work: (pool: Pool) => T): Promise<T> {
    return await this.#inTurn(async () => {
      await this.#catchUp(log);
      return work(this.#pool);
    });
  }

  /**
   * Decides on the newest pool and appends what was decided; when somebody else appended in between, catches up and decides
   * again. `decide` may therefore run several times. `commandId` undefined: the decision has no cause but the state.
   */
  async decide(
    log: Log,
    decide: (pool: Pool) => HostEvent[],
    cause: { commandId?: string; metadata?: EventMetadata } = {},
  ): Promise<number> {
    return await this.#inTurn(async () => {
      for (;;) {
        await this.#catchUp(log);
        const events = decide(this.#pool);
        if (events.length === 0) return 0;
        const appended = await log.append(
          [{ stream: hostStream(this.hostId), expected: this.#version, events }],
          {
            commandId: cause.commandId ?? randomUUID(),
            metadata: cause.metadata ?? this.#metadata,
            correlationOf,
          },
        );
        if (appended.ok) return events.length;
      }
    });
  }

  async #catchUp(log: Log): Promise<void> {
    for (let more = true; more; ) {
      const page = await log.readStreamPage(hostStream(this.hostId), this.#version);
      for (const event of page.events) evolve(this.#pool, event);
      this.#version = page.version;
      more = page.more;
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }
}

/** What concerns one backup is part of its story; what concerns the host alone is part of the host's. */
const correlationOf = (event: Event): string | undefined =>
  'backupId' in event.data ? event.data.backupId : undefined;
