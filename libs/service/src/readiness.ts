/** Whether a service can do its work now, and if not, what is in the way. */
import type { EventStore } from '@backhaul/event-store';
import { describeError, withDeadline } from '@backhaul/kernel';
import type { Health, Messaging } from '@backhaul/messaging';
import { sql } from 'kysely';

export interface ReadinessReport {
  readonly ready: boolean;
  readonly phase: Phase;
  readonly checks: Readonly<Record<string, Health>>;
}

type Phase = 'starting' | 'running' | 'stopping';

const CHECK_MILLISECONDS_MAX = 3_000;

export class Readiness {
  #phase: Phase = 'starting';
  #store: EventStore | undefined;
  #messaging: Messaging | undefined;

  /** What is checked grows with the start: until then it is what is waited for. */
  uses(store: EventStore, messaging?: Messaging): void {
    [this.#store, this.#messaging] = [store, messaging];
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
    const checks = { postgres, nats, relay: { ok: relay.ok, detail: relay.detail } };
    const ready = this.#phase === 'running' && Object.values(checks).every(({ ok }) => ok);
    return { ready, phase: this.#phase, checks };
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
