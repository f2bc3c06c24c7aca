/**
 * One configured host, and who works at it here. The host is opened by whoever is in charge of it and not before, and tried again until it
 * can be: what keeps one host from being opened keeps no other from being worked at. Until then what is asked of it waits in its pool.
 */
import type { HostConfiguration } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { type HostOptions, type HypervisorHost, openHost } from '@backhaul/hypervisor';
import type { KeptPools } from '@backhaul/kept-pools';
import { carryOut } from '@backhaul/pool';
import type { Health } from '@backhaul/service';
import type { Logger } from 'pino';
import { HostWorker } from './host-worker.ts';
import { Ledger } from './ledger.ts';
import { openPatiently } from './open-patiently.ts';

interface Parts {
  readonly configured: HostConfiguration;
  /** What all hosts are opened with, whatever their kind. */
  readonly site: Omit<HostOptions, keyof HostConfiguration>;
  readonly store: EventStore;
  readonly kept: KeptPools;
  readonly log: Logger;
}

const notInCharge: Health = { ok: true, detail: 'not worked at by this instance' };

export class HostPlace {
  readonly ledger: Ledger;
  readonly #parts: Parts;
  readonly #log: Logger;
  #health: () => Health = () => notInCharge;
  #opening: Promise<HypervisorHost> | undefined;
  #host: HypervisorHost | undefined;
  #worker: HostWorker | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.ledger = new Ledger(parts.configured.hostId, parts.kept);
    this.#log = parts.log.child({ host: parts.configured.hostId });
  }

  /** Whether this instance works at the host, and if it cannot, why and since when. */
  health(): Health {
    return this.#health();
  }

  /** There is news for the pool. */
  wake(): void {
    this.#worker?.wake();
  }

  /** Opens the host and works at it until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { configured, store, log } = this.#parts;
    const { kind, address } = configured;
    const at = Date.now();
    await this.ledger.decide(store, { kind: 'registration', at }, (pool) =>
      carryOut(pool, { type: 'RegisterHost', kind, address }, new Date(at).toISOString()),
    );
    try {
      const opening = { ok: false, detail: `being opened since ${new Date(at).toISOString()}` };
      this.#health = () => opening;
      const host = await openPatiently({
        open: () => this.#open(),
        onFailure: (reason) => {
          this.#health = () => ({ ok: false, detail: `cannot be opened: ${reason}` });
        },
        log: this.#log,
        signal,
      });
      if (host === undefined) return;
      // The same when the charge was lost and came back: it has what it could not append yet.
      this.#worker ??= new HostWorker({ host, ledger: this.ledger, store, log });
      const worker = this.#worker;
      this.#health = () => worker.health();
      await worker.run(signal);
    } finally {
      this.#health = () => notInCharge;
    }
  }

  async close(): Promise<void> {
    await this.#host?.close();
  }

  /** One at a time: it may go on after the charge was lost. */
  #open(): Promise<HypervisorHost> {
    this.#opening ??= openHost({ ...this.#parts.configured, ...this.#parts.site }).then(
      (host) => {
        this.#host = host;
        return host;
      },
      (error) => {
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }
}
