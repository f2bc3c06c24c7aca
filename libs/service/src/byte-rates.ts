/**
 * Bytes per second, per host and for the whole deployment, shared by all instances that move data. Whoever moves bytes takes them first: in
 * slices of a quarter of a second, one after the other, from one row of Postgres per limit, so an instance costs a few statements a
 * second, and one that dies costs the others one slice. Where there is no limit nothing is asked but, once a second, whether there is
 * one now. With Postgres away nothing moves: it is waited for, and after half a minute the work fails as it would at its next append.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { deploymentPolicyStream, type Event, hostPolicyStream, type StreamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { Fault, isPermanent } from '@backhaul/kernel';
import { sql } from 'kysely';

const SLICE_SECONDS = 0.25;
/** A change of a limit counts after this and a slice. */
const LIMIT_MILLISECONDS = 1_000;
const AWAY_MILLISECONDS_MAX = 30_000;

export interface ByteRates {
  /** Resolves when so many bytes may be read from the host, or written to it. In the order of the calls. */
  take(hostId: string, bytes: number, signal: AbortSignal): Promise<void>;
}

export function byteRates(store: EventStore): ByteRates {
  const deployment = new Scope(store, 'deployment', deploymentPolicyStream);
  const hosts = new Map<string, Scope>();
  return {
    async take(hostId, bytes, signal) {
      const host = hosts.get(hostId) ?? new Scope(store, `host ${hostId}`, hostPolicyStream(hostId));
      hosts.set(hostId, host);
      await host.take(bytes, signal);
      await deployment.take(bytes, signal);
    },
  };
}

class Scope {
  readonly #store: EventStore;
  readonly #name: string;
  readonly #policies: StreamName;
  /** Taken and not moved yet. */
  #bytes = 0;
  #limit: number | null = null;
  #version = 0;
  #readAt = Number.NEGATIVE_INFINITY;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(store: EventStore, name: string, policies: StreamName) {
    this.#store = store;
    this.#name = name;
    this.#policies = policies;
  }

  /** One after the other: a large take is not overtaken by small ones for ever. */
  take(bytes: number, signal: AbortSignal): Promise<void> {
    const taken = this.#turn.then(() => this.#take(bytes, signal));
    this.#turn = taken.catch(() => undefined);
    return taken;
  }

  async #take(bytes: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const limit = await this.#currentLimit(signal);
      if (limit === null) {
        this.#bytes = 0;
        return;
      }
      if (this.#bytes >= bytes) {
        this.#bytes -= bytes;
        return;
      }
      const seconds = await this.#patiently('Taking bytes', signal, () => this.#takeSlice());
      // Counted when the slice is over: what is moved is never ahead of what is allowed.
      if (await this.#waitedFor(seconds, signal)) this.#bytes += limit * SLICE_SECONDS;
    }
  }

  /** False when the limit was lifted meanwhile. */
  async #waitedFor(seconds: number, signal: AbortSignal): Promise<boolean> {
    const end = performance.now() + seconds * 1000;
    for (let left = seconds * 1000; left > 0; left = end - performance.now()) {
      await sleep(Math.min(left, LIMIT_MILLISECONDS), undefined, { signal });
      if (left > LIMIT_MILLISECONDS && (await this.#currentLimit(signal)) === null) return false;
    }
    return true;
  }

  async #takeSlice(): Promise<number> {
    const { rows } = await sql<{ seconds: number }>`
      select public.take_slice(${this.#name}, ${SLICE_SECONDS}) as seconds`.execute(this.#store.kysely);
    return rows[0]?.seconds ?? SLICE_SECONDS;
  }

  async #currentLimit(signal: AbortSignal): Promise<number | null> {
    if (performance.now() - this.#readAt < LIMIT_MILLISECONDS) return this.#limit;
    await this.#patiently('Reading the limit', signal, async () => {
      const page = await this.#store.readStreamPage(this.#policies, this.#version);
      for (const event of page.events) this.#limit = limitIn(event) ?? null;
      this.#version = page.version;
    });
    this.#readAt = performance.now();
    return this.#limit;
  }

  async #patiently<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const until = performance.now() + AWAY_MILLISECONDS_MAX;
    for (;;) {
      try {
        return await work();
      } catch (cause) {
        if (isPermanent(cause) || performance.now() >= until)
          throw new Fault(`${what} of ${this.#name} failed`, { cause });
        await sleep(500, undefined, { signal });
      }
    }
  }
}

const limitIn = (event: Event): number | null | undefined =>
  event.type === 'HostPolicyDefined' || event.type === 'DeploymentPolicyDefined'
    ? event.data.policy.bytesPerSecond
    : undefined;

/** Where nobody limits anything. */
export const unlimited: ByteRates = { take: async () => undefined };
