/** Whether a service can do its work now, and if not, what is in the way. */
import type { EventStore } from '@backhaul/event-store';
import { describeError, withDeadline } from '@backhaul/kernel';
import type { Health, Messaging } from '@backhaul/messaging';
import { sql } from 'kysely';

export interface ReadinessReport {
  readonly ready: boolean;
  readonly phase: Phase;
  /** What the service cannot work without. */
  readonly checks: Readonly<Record<string, Health>>;
  /** What it works at, each on its own. */
  readonly parts: Readonly<Record<string, Health>>;
}

type Phase = 'starting' | 'running' | 'stopping';

const CHECK_MILLISECONDS_MAX = 3_000;

export class Readiness {
  #phase: Phase = 'starting';
  #store: EventStore | undefined;
  #messaging: Messaging | undefined;
  readonly #parts = new Map<string, () => Health>();
  readonly #own = new Map<string, () => Promise<Health>>();

  /** What is checked grows with the start: until then it is what is waited for. */
  uses(store: EventStore, messaging?: Messaging): void {
    [this.#store, this.#messaging] = [store, messaging];
  }

  /** Told beside the checks. A part that is not well does not make the service unready: it does its work for the others. */
  tellsOf(name: string, health: () => Health): void {
    this.#parts.set(name, health);
  }

  parts(): Record<string, Health> {
    return Object.fromEntries([...this.#parts].map(([name, health]) => [name, health()]));
  }

  /** What one service cannot work without, beside what none can. */
  needs(name: string, check: () => Promise<Health>): void {
    this.#own.set(name, check);
  }

  start(): void {
    if (this.#phase === 'starting') this.#phase = 'running';
  }

  stop(): void {
    this.#phase = 'stopping';
  }

  async report(): Promise<ReadinessReport> {
    const store = this.#store;
    const messaging = this.#messaging;
    const [postgres, health] = await Promise.all([
      probe(
        'PostgreSQL',
        store &&
          (async () => {
            await sql`select 1`.execute(store.kysely);
            return { ok: true, detail: 'reachable' };
          }),
      ),
      messaging === undefined
        ? { nats: notYet, relay: notYet }
        : withDeadline('Asking NATS and the relay', CHECK_MILLISECONDS_MAX, () => messaging.health()).catch(
            (error: unknown) => {
              const failed = { ok: false, detail: describeError(error) };
              return { nats: failed, relay: failed };
            },
          ),
    ]);
    const { nats, relay } = health;
    const own = await Promise.all(
      Array.from(this.#own, async ([name, check]) => [name, await probe(name, check)] as const),
    );
    const checks: Record<string, Health> = {
      ...{ postgres, nats, relay: { ok: relay.ok, detail: relay.detail } },
      ...Object.fromEntries(own),
    };
    const ready = this.#phase === 'running' && Object.values(checks).every(({ ok }) => ok);
    return { ready, phase: this.#phase, checks, parts: this.parts() };
  }
}

const notYet: Health = { ok: false, detail: 'not connected yet' };

async function probe(what: string, check: (() => Promise<Health>) | undefined): Promise<Health> {
  if (check === undefined) return notYet;
  try {
    return await withDeadline(`Asking ${what}`, CHECK_MILLISECONDS_MAX, check);
  } catch (error) {
    return { ok: false, detail: describeError(error) };
  }
}
