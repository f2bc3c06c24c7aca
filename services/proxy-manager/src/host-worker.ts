/**
 * The one who works at a host: looks at the pool, appends what is decided, does what is to be done, and looks again when
 * anything has changed. It keeps nothing that matters in memory: killed at any line, the next one goes on from the events.
 */
import type { EventStore } from '@backhaul/event-store';
import type { HypervisorHost } from '@backhaul/hypervisor';
import { describeError, isPermanent } from '@backhaul/kernel';
import type { Logger } from 'pino';
import { findDrift, type Settled, settledIn } from './drift.ts';
import type { Ledger } from './ledger.ts';
import { type Action, actionKey, nextSteps } from './next-steps.ts';
import { givenUp, performAction, triesOf } from './perform-action.ts';
import { attachmentKey, type HostEvent, type Pool } from './pool.ts';

/** Between looks when nothing woke the worker: idle proxies end and other instances' appends are seen by then. */
const LOOK_MILLISECONDS = 1_000;
/** Between two questions to the host what is really there. */
const OBSERVE_MILLISECONDS = 3_000;
const ACTIONS_AT_ONCE = 16;
const RETRY_FIRST_MILLISECONDS = 250;
const RETRY_LONGEST_MILLISECONDS = 30_000;

interface Attempted {
  tries: number;
  notBefore: number;
}

export class HostWorker {
  readonly #host: HypervisorHost;
  readonly #ledger: Ledger;
  readonly #store: EventStore;
  readonly #log: Logger;
  readonly #running = new Map<string, Promise<void>>();
  readonly #attempted = new Map<string, Attempted>();
  /** Confirmations waiting to be appended, all that there are in one append. */
  #confirmed: HostEvent[] = [];
  #appending: Promise<number> = Promise.resolve(0);
  #straysSeen = new Set<string>();
  /** Somebody waits to hear whether a proxy is up. */
  #suspects = false;
  #wake: () => void = () => undefined;
  #woken = false;

  constructor(parts: { host: HypervisorHost; ledger: Ledger; store: EventStore; log: Logger }) {
    this.#host = parts.host;
    this.#ledger = parts.ledger;
    this.#store = parts.store;
    this.#log = parts.log.child({ host: parts.host.hostId });
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
    let observeAt = 0;
    try {
      while (!signal.aborted) {
        this.#woken = false;
        const more = await this.#look(signal);
        if (observing === undefined && (this.#suspects || Date.now() >= observeAt)) {
          observing = this.#observe()
            .catch((error: unknown) =>
              this.#log.warn({ error: describeError(error) }, 'the host could not be observed'),
            )
            .finally(() => {
              observing = undefined;
              observeAt = Date.now() + OBSERVE_MILLISECONDS;
              if (this.#suspects) this.wake();
            });
        }
        if (!more) await this.#rest();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      await Promise.all([...this.#running.values(), observing]);
      await this.#appendConfirmed();
    }
  }

  /** One pass. True when something was decided, so that another look is due at once. */
  async #look(signal: AbortSignal): Promise<boolean> {
    try {
      const confirmed = await this.#appendConfirmed();
      const now = Date.now();
      let actions: readonly Action[] = [];
      const decided = await this.#ledger.decide(this.#store, (pool) => {
        const steps = nextSteps(pool, now);
        actions = steps.actions;
        this.#suspects = [...pool.proxies.values()].some(
          (proxy) => proxy.suspect && proxy.state === 'active',
        );
        return steps.decisions;
      });
      if (!signal.aborted) for (const action of actions) this.#start(action, now);
      return decided > 0 || confirmed > 0;
    } catch (error) {
      if (!isTransient(error)) throw error;
      this.#log.warn({ error: describeError(error) }, 'the log could not be reached; trying again');
      return false;
    }
  }

  #start(action: Action, now: number): void {
    const key = actionKey(action);
    if (this.#running.has(key) || this.#running.size >= ACTIONS_AT_ONCE) return;
    const attempted = this.#attempted.get(`${action.type} ${key}`);
    if (attempted !== undefined && now < attempted.notBefore) return;
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
    this.#running.set(key, work);
  }

  async #perform(action: Action): Promise<void> {
    this.#log.debug({ action: action.type, on: actionKey(action) }, 'doing');
    const events = await performAction(this.#host, action);
    this.#attempted.delete(`${action.type} ${actionKey(action)}`);
    this.#confirmed.push(...events);
    // Appended before the thing may be worked on again, or the same action would be seen as due a second time (harmless, but
    // not free). What cannot be appended now is kept, and goes first at the next look.
    await this.#appendConfirmed().catch((error: unknown) =>
      this.#log.warn({ error: describeError(error) }, 'a confirmation could not be appended yet'),
    );
  }

  async #failed(action: Action, error: unknown): Promise<void> {
    const key = `${action.type} ${actionKey(action)}`;
    const tries = (this.#attempted.get(key)?.tries ?? 0) + 1;
    const context = { action: action.type, on: actionKey(action), tries, error: describeError(error) };
    const last = tries >= triesOf(action) || (isPermanent(error) && Number.isFinite(triesOf(action)));
    if (!last) {
      const wait = Math.min(RETRY_LONGEST_MILLISECONDS, RETRY_FIRST_MILLISECONDS * 2 ** (tries - 1));
      this.#attempted.set(key, { tries, notBefore: Date.now() + wait });
      this.#log.warn(context, 'an action failed and will be tried again');
      return;
    }
    this.#attempted.delete(key);
    this.#log.error(context, 'an action failed for good');
    await this.#ledger.decide(this.#store, (pool) => givenUp(pool, action, error));
  }

  /** One append at a time, of everything confirmed so far. When the log is out of reach the confirmations are kept. */
  #appendConfirmed(): Promise<number> {
    const appended = this.#appending.then(async () => {
      const batch = this.#confirmed;
      if (batch.length === 0) return 0;
      this.#confirmed = [];
      try {
        return await this.#ledger.decide(this.#store, (pool) =>
          batch.filter((event) => stillMeaningful(pool, event)),
        );
      } catch (error) {
        this.#confirmed = [...batch, ...this.#confirmed];
        throw error;
      }
    });
    this.#appending = appended.catch(() => 0);
    return appended;
  }

  async #observe(): Promise<void> {
    const before: Settled = await this.#ledger.read(this.#store, settledIn);
    const seen = await this.#host.observe();
    let strays: readonly Extract<Action, { type: 'RemoveStray' }>[] = [];
    const found = await this.#ledger.decide(this.#store, (pool) => {
      const drift = findDrift(pool, before, seen);
      strays = drift.strays;
      return drift.events;
    });
    const twice = strays.filter((stray) => this.#straysSeen.has(actionKey(stray)));
    this.#straysSeen = new Set(strays.map(actionKey));
    for (const stray of twice) this.#start(stray, Date.now());
    if (found > 0) this.wake();
  }

  async #rest(): Promise<void> {
    if (this.#woken) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LOOK_MILLISECONDS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#woken) this.#wake();
    });
    this.#wake = () => undefined;
  }
}

/** A confirmation that comes a second time, or after what it confirms was given up, says nothing new. */
function stillMeaningful(pool: Pool, event: HostEvent): boolean {
  switch (event.type) {
    case 'SnapshotTaken': {
      const state = pool.runs.get(event.data.backupId)?.snapshot;
      return state === 'requested' || state === 'lost';
    }
    case 'RunFailed':
      return pool.runs.get(event.data.backupId)?.outcome === undefined;
    case 'ProxyActivated':
      return pool.proxies.get(event.data.proxyId)?.state === 'requested';
    case 'DiskAttached': {
      const { proxyId, backupId, diskId } = event.data;
      return (
        pool.proxies.get(proxyId)?.attachments.get(attachmentKey(backupId, diskId))?.state === 'requested'
      );
    }
    default:
      return true;
  }
}

const isTransient = (error: unknown): boolean =>
  error instanceof Error && error.name === 'Fault' && !isPermanent(error);
