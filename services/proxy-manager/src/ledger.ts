/**
 * The pool of one host as far as the log tells it: read once a process, from where one was kept, then kept up with what is appended here, and
 * read on from where it stands when somebody else has appended. One flow at a time may use it.
 *
 * A decision is made on what is known, without asking the log first: the exact version that an append expects proves it was the
 * newest. That nothing is to be done proves nothing, and is believed only of a pool that was just read.
 */
import { randomUUID } from 'node:crypto';
import type { Event, EventMetadata, Recorded } from '@backhaul/contracts';
import type { AppendContext, EventTransaction } from '@backhaul/event-store';
import type { KeptPools } from '@backhaul/kept-pools';
import {
  emptyPool,
  evolve,
  type HostEvent,
  hostStream,
  type Occasion,
  occasionText,
  type Pool,
} from '@backhaul/pool';

type Log = Pick<EventTransaction, 'readStreamPage' | 'append'>;

/** Folded in a tenth of a second: what a start may cost. */
const KEEP_EVERY_EVENTS = 10_000;

/** Either the occasion in the pool's own life, or the news that led to each event: it has to say which, or nobody could decide it again. */
type Cause = { readonly occasion: Occasion } | Required<Pick<AppendContext, 'commandId' | 'causeOf'>>;
type Decide = (pool: Pool) => HostEvent[];

export class Ledger {
  readonly hostId: string;
  readonly #metadata: EventMetadata;
  readonly #kept: KeptPools;
  #pool: Pool;
  #version = 0;
  /** The event of that version. */
  #newest = '';
  #keptVersion = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(hostId: string, kept: KeptPools) {
    this.hostId = hostId;
    this.#kept = kept;
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

  /** Decides on the newest pool and appends what was decided; how many events. `decide` may run several times. */
  async decide(log: Log, occasion: Occasion, decide: Decide): Promise<number> {
    return await this.#inTurn(async () => {
      const decided = await this.#decide(log, decide, { occasion });
      this.#keepSometimes();
      return decided;
    });
  }

  /** The same within a transaction: `begin` opens it around the work it is given, and resolves when it is committed. */
  async decideWithin(
    begin: (work: (log: Log, decide: Decide, cause: Cause) => Promise<number>) => Promise<void>,
  ): Promise<void> {
    await this.#inTurn(async () => {
      const before = this.#version;
      try {
        await begin((log, decide, cause) => this.#decide(log, decide, cause));
      } catch (error) {
        // What was decided never happened. Seldom, and a fold cannot be taken back: everything is read again.
        if (this.#version !== before) this.#forget();
        throw error;
      }
    });
  }

  #forget(): void {
    this.#pool = emptyPool(this.hostId);
    this.#version = 0;
  }

  /** Only where all that was folded is committed: a transaction may still be undone. */
  #keepSometimes(): void {
    if (this.#version - this.#keptVersion < KEEP_EVERY_EVENTS) return;
    this.#keptVersion = this.#version;
    void this.#kept.keep({ pool: this.#pool, version: this.#version }, this.#newest);
  }

  async #decide(log: Log, decide: Decide, cause: Cause): Promise<number> {
    const context = this.#contextOf(cause);
    let newest = this.#version === 0 ? await this.#catchUp(log) : false;
    for (;;) {
      const events = decide(this.#pool);
      if (events.length === 0) {
        if (newest) return 0;
        newest = await this.#catchUp(log);
        continue;
      }
      const appended = await log.append(
        [{ stream: hostStream(this.hostId), expected: this.#version, events }],
        {
          ...context,
          correlationOf: (event) => correlationIn(this.#pool, event),
        },
      );
      if (appended.ok && !appended.value.duplicate) {
        this.#fold(appended.value.events);
        return events.length;
      }
      await this.#catchUp(log);
      if (appended.ok) return events.length;
      newest = true;
    }
  }

  #contextOf(cause: Cause): Pick<AppendContext, 'commandId' | 'metadata' | 'causeOf'> {
    if ('commandId' in cause) return { ...cause, metadata: this.#metadata };
    const causation = occasionText(this.hostId, cause.occasion);
    return { commandId: randomUUID(), metadata: { ...this.#metadata, causation } };
  }

  async #catchUp(log: Log): Promise<true> {
    if (this.#version === 0) await this.#goOnFromKept();
    for (let more = true; more; ) {
      const page = await log.readStreamPage(hostStream(this.hostId), this.#version);
      this.#fold(page.events);
      this.#version = page.version;
      more = page.more;
    }
    return true;
  }

  async #goOnFromKept(): Promise<void> {
    const kept = await this.#kept.newest(this.hostId);
    if (kept === undefined) return;
    this.#pool = kept.pool;
    this.#version = kept.version;
    this.#keptVersion = kept.version;
  }

  #fold(events: readonly Recorded[]): void {
    for (const event of events) {
      evolve(this.#pool, event);
      this.#version = event.version;
      this.#newest = event.eventId;
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }
}

/** What concerns one run is part of its story, and so is what became of a proxy that was started for it; the rest is the host's. */
function correlationIn(pool: Pool, { data }: Event): string | undefined {
  if ('runId' in data) return data.runId;
  return 'proxyId' in data ? pool.proxies.get(data.proxyId)?.startedFor : undefined;
}
