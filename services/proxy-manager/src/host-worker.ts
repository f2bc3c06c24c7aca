/**
 * The one who works at a host: looks at the pool, appends what is decided, does what is to be done, and looks again when
 * anything has changed. It keeps nothing that matters in memory: killed at any line, the next one goes on from the events.
 */
import type { EventStore } from '@backhaul/event-store';
import type { HypervisorHost } from '@backhaul/hypervisor';
import { describeError, isPermanent, withDeadline } from '@backhaul/kernel';
import {
  type Action,
  actionKey,
  confirmsSomething,
  countsAsTry,
  decisionsNow,
  dueActions,
  findDrift,
  givenUp,
  type HealthWatch,
  type HostEvent,
  healthChanges,
  type Pool,
  type Settled,
  type Silences,
  settledIn,
  triesOf,
} from '@backhaul/pool';
import type { Health } from '@backhaul/service';
import type { Logger } from 'pino';
import type { Ledger } from './ledger.ts';
import { LOOK_MILLISECONDS_MAX, Looks } from './looks.ts';
import { performAction } from './perform-action.ts';

/** Between looks when nothing woke the worker: idle proxies end and other instances' appends are seen by then. */
const LOOK_MILLISECONDS = 1_000;
/** Between two questions to the host what is really there. */
const OBSERVE_MILLISECONDS = 3_000;
/** The same while somebody waits to hear whether a proxy is up: a host that cannot tell yet is not asked without a pause. */
const SUSPECT_MILLISECONDS = 250;
/** A look that is under way at the end is waited for so long: it changes nothing at the host. */
const LAST_LOOK_MILLISECONDS = 5_000;
/** Nothing that is done at a host takes so long, unless its file system hangs. */
const ACTION_MILLISECONDS_MAX = 30 * 60_000;
const ACTIONS_AT_ONCE = 16;
const RETRY_FIRST_MILLISECONDS = 250;
const RETRY_LONGEST_MILLISECONDS = 30_000;

interface Attempted {
  tries: number;
  /** Of these, those that count (given-up.ts). */
  counted: number;
  notBefore: number;
}

export class HostWorker {
  readonly #host: HypervisorHost;
  readonly #ledger: Ledger;
  readonly #store: EventStore;
  readonly #log: Logger;
  readonly #looks: Looks;
  readonly #running = new Map<string, { readonly work: Promise<void>; readonly since: number }>();
  /** What failed and will be tried again: forgotten when it is no longer due. */
  readonly #attempted = new Map<string, Attempted>();
  /** Confirmations waiting to be appended, all that there are in one append. */
  #confirmed: HostEvent[] = [];
  #appending: Promise<number> = Promise.resolve(0);
  #straysSeen = new Set<string>();
  /** Changes of health that one look has seen, and another has yet to. */
  #healthWatch: HealthWatch = new Map();
  /** What did not answer, and since when. */
  #silences: Silences = new Map();
  /** Somebody waits to hear whether a proxy is up. */
  #suspects = false;
  #wake: () => void = () => undefined;
  #woken = false;

  constructor(parts: {
    host: HypervisorHost;
    ledger: Ledger;
    store: EventStore;
    log: Logger;
    lookMilliseconds?: number;
  }) {
    this.#host = parts.host;
    this.#ledger = parts.ledger;
    this.#store = parts.store;
    this.#log = parts.log.child({ host: parts.host.hostId });
    this.#looks = new Looks(parts.host, parts.lookMilliseconds ?? LOOK_MILLISECONDS_MAX);
  }

  /** Whether the host answers; of one that hangs, since when. */
  health(): Health {
    for (const [key, { since }] of this.#running)
      if (Date.now() - since >= ACTION_MILLISECONDS_MAX)
        return { ok: false, detail: `${key} has been worked at since ${new Date(since).toISOString()}` };
    return this.#looks.health();
  }

  /** Something has changed: look now. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Works until the signal; resolves when nothing of its own is under way any more. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.wake();
    signal.addEventListener('abort', stop);
    let observing: Promise<void> | undefined;
    let observedAt = 0;
    this.#looks.begin();
    const isDue = (): boolean =>
      Date.now() >= observedAt + (this.#suspects ? SUSPECT_MILLISECONDS : OBSERVE_MILLISECONDS);
    try {
      while (!signal.aborted) {
        this.#woken = false;
        const more = await this.#look(signal);
        if (observing === undefined && this.#looks.free && isDue()) {
          observing = this.#observe(signal)
            .catch((error: unknown) =>
              this.#log.warn({ error: describeError(error) }, 'the host could not be observed'),
            )
            .finally(() => {
              observing = undefined;
              observedAt = Date.now();
            });
        }
        if (!more) await this.#rest(this.#suspects ? SUSPECT_MILLISECONDS : LOOK_MILLISECONDS);
      }
    } finally {
      signal.removeEventListener('abort', stop);
      const looked = withDeadline('The last look', LAST_LOOK_MILLISECONDS, async () => await observing);
      await Promise.all([
        ...Array.from(this.#running.values(), ({ work }) => work),
        looked.catch(() => undefined),
      ]);
      await this.#appendConfirmed();
    }
  }

  /** One pass. True when something was decided, so that another look is due at once. */
  async #look(signal: AbortSignal): Promise<boolean> {
    try {
      const confirmed = await this.#appendConfirmed();
      const now = Date.now();
      let actions: readonly Action[] = [];
      const decided = await this.#ledger.decide(this.#store, { kind: 'look', at: now }, (pool) => {
        actions = this.#startable(pool, now);
        this.#suspects = pool.due.suspects.size > 0;
        return decisionsNow(pool, now);
      });
      if (!signal.aborted) for (const action of actions) this.#start(action);
      return decided > 0 || confirmed > 0;
    } catch (error) {
      if (!isTransient(error)) throw error;
      this.#log.warn({ error: describeError(error) }, 'the log could not be reached; trying again');
      return false;
    }
  }

  /** As many as there are hands for. Others are looked at only as far as those before them cannot start now. */
  #startable(pool: Pool, now: number): Action[] {
    const found: Action[] = [];
    const hands = ACTIONS_AT_ONCE - this.#running.size;
    if (hands <= 0) return found;
    for (const action of dueActions(pool)) {
      const attempted = this.#attempted.get(attemptKey(action));
      if (this.#running.has(actionKey(action)) || (attempted !== undefined && now < attempted.notBefore))
        continue;
      found.push(action);
      if (found.length === hands) break;
    }
    return found;
  }

  #start(action: Action): void {
    const key = actionKey(action);
    // One thing may be due for two actions at once, and a look may be overtaken by another.
    if (this.#running.has(key)) return;
    const work = this.#perform(action)
      .catch((error: unknown) => this.#failed(action, error))
      .catch((error: unknown) =>
        this.#log.error(
          { error: describeError(error), action: action.type },
          'an action could not be answered for',
        ),
      )
      .finally(() => {
        this.#running.delete(key);
        this.wake();
      });
    this.#running.set(key, { work, since: Date.now() });
  }

  async #perform(action: Action): Promise<void> {
    this.#log.debug({ action: action.type, on: actionKey(action) }, 'doing');
    const events = await performAction(this.#host, action);
    this.#attempted.delete(attemptKey(action));
    this.#confirmed.push(...events);
    // Appended before the thing may be worked on again, or the same action would be seen as due a second time (harmless, but
    // not free). What cannot be appended now is kept, and goes first at the next look.
    await this.#appendConfirmed().catch((error: unknown) =>
      this.#log.warn({ error: describeError(error) }, 'a confirmation could not be appended yet'),
    );
  }

  async #failed(action: Action, error: unknown): Promise<void> {
    const key = attemptKey(action);
    const before = this.#attempted.get(key);
    const tries = (before?.tries ?? 0) + 1;
    const counted = (before?.counted ?? 0) + (countsAsTry(error) ? 1 : 0);
    const context = { action: action.type, on: actionKey(action), tries, error: describeError(error) };
    const last = counted >= triesOf(action) || (isPermanent(error) && Number.isFinite(triesOf(action)));
    if (!last) {
      const wait = Math.min(RETRY_LONGEST_MILLISECONDS, RETRY_FIRST_MILLISECONDS * 2 ** (tries - 1));
      this.#attempted.set(key, { tries, counted, notBefore: Date.now() + wait });
      this.#log.warn(context, 'an action failed and will be tried again');
      return;
    }
    this.#attempted.delete(key);
    this.#log.error(context, 'an action failed for good');
    await this.#ledger.decide(this.#store, { kind: 'given-up', at: Date.now() }, (pool) =>
      givenUp(pool, action, error),
    );
  }

  /** One append at a time, of everything confirmed so far. When the log is out of reach the confirmations are kept. */
  #appendConfirmed(): Promise<number> {
    const appended = this.#appending.then(async () => {
      const batch = this.#confirmed;
      if (batch.length === 0) return 0;
      this.#confirmed = [];
      try {
        return await this.#ledger.decide(this.#store, { kind: 'confirmation', at: Date.now() }, (pool) =>
          batch.filter((event) => confirmsSomething(pool, event)),
        );
      } catch (error) {
        this.#confirmed = [...batch, ...this.#confirmed];
        throw error;
      }
    });
    this.#appending = appended.catch(() => 0);
    return appended;
  }

  async #observe(signal: AbortSignal): Promise<void> {
    const before: Settled = await this.#ledger.read(this.#store, (pool) => {
      this.#forgetAttempts(pool);
      return settledIn(pool);
    });
    const seen = await this.#looks.look();
    // Somebody else may be in charge by now.
    if (signal.aborted) return;
    const seenAt = Date.now();
    let healthWatch = this.#healthWatch;
    let silences = this.#silences;
    let strays: readonly Extract<Action, { type: 'RemoveStray' }>[] = [];
    const at = Date.now();
    const found = await this.#ledger.decide(this.#store, { kind: 'drift', at }, (pool) => {
      const drift = findDrift(pool, before, seen, at, this.#silences);
      silences = drift.silences;
      strays = drift.strays;
      const health = healthChanges(pool, seen, this.#healthWatch, seenAt);
      healthWatch = health.watch;
      return [...drift.events, ...health.events];
    });
    this.#healthWatch = healthWatch;
    this.#silences = silences;
    const twice = strays.filter((stray) => this.#straysSeen.has(actionKey(stray)));
    this.#straysSeen = new Set(strays.map(actionKey));
    for (const stray of twice) this.#start(stray);
    if (found > 0) this.wake();
  }

  /** A thing that is gone is never tried again, and nobody would take its failures off the list. */
  #forgetAttempts(pool: Pool): void {
    if (this.#attempted.size === 0) return;
    const due = new Set([...dueActions(pool)].map(attemptKey));
    for (const key of this.#attempted.keys()) if (!due.has(key)) this.#attempted.delete(key);
  }

  async #rest(milliseconds: number): Promise<void> {
    if (this.#woken) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#woken) this.#wake();
    });
    this.#wake = () => undefined;
  }
}

const attemptKey = (action: Action): string => `${action.type} ${actionKey(action)}`;

const isTransient = (error: unknown): boolean =>
  error instanceof Error && error.name === 'Fault' && !isPermanent(error);
