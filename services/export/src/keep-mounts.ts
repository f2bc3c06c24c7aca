/**
 * The one who serves what is to be served: every mount that the log has as asked for and not closed, from the start of the process on, and
 * from where they are told of on. One instance at a time does it. Killed at any line, the next one serves the same at the same place.
 *
 * VMs run from what is served here, and it is read-only and found by digest: neither the log nor the charge is needed to go on with it. So
 * it is served on while both are lost, for as long as that takes, and let go only to another instance that has the charge.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { EventMetadata } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, hasCode, isPermanent } from '@backhaul/kernel';
import type { Logger } from 'pino';
import {
  closed,
  decideMount,
  loadMount,
  type MountKey,
  type MountOrder,
  opened,
  readFailed,
} from './mount.ts';
import { decideRecovery, recoveryFailed } from './recovery.ts';
import { type ServedMount, type ServingParts, serveMount } from './serve-mount.ts';

/** Between two looks into the log at what other instances were told. */
const LOOK_MILLISECONDS = 1_000;
/**
 * How long the log must be there again, and the charge not, until it is taken that another instance has it. The one that had it tries
 * again within half a second; a guest waits this long and some seconds at most, and its QEMU some minutes.
 */
const HAND_OVER_MILLISECONDS = 10_000;

export class MountKeeper {
  readonly #store: EventStore;
  readonly #serving: ServingParts;
  readonly #log: Logger;
  readonly #served = new Map<string, ServedMount>();
  /** Open, or to be looked at. */
  readonly #due = new Set<string>();
  readonly #closing = new AbortController();
  readonly #handOverMilliseconds: number;
  #position = 0;
  #isInCharge = false;
  #handingOver: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(parts: ServingParts & { readonly store: EventStore; readonly handOverMilliseconds?: number }) {
    this.#store = parts.store;
    this.#serving = parts;
    this.#log = parts.log;
    this.#handOverMilliseconds = parts.handOverMilliseconds ?? HAND_OVER_MILLISECONDS;
  }

  /** Told in this process: there is no need to wait for the log. */
  wake(recoveryId: string): void {
    this.#due.add(recoveryId);
    this.#wake();
  }

  /** While this instance has the charge. What it serves is served on when this ends: see `close`. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#wake();
    signal.addEventListener('abort', stop);
    this.#position = 0;
    this.#isInCharge = true;
    await this.#handingOver;
    try {
      while (!signal.aborted) {
        await this.#readOn();
        for (const recoveryId of this.#due) {
          if (signal.aborted) break;
          await this.#tend(recoveryId).catch((error: unknown) =>
            this.#log.warn({ recoveryId, error: describeError(error) }, 'a mount could not be tended yet'),
          );
        }
        if (!signal.aborted) await this.#rest();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.#isInCharge = false;
      this.#handingOver = this.#handOver();
    }
  }

  /** Nothing is served from here any more. Once, when the process ends. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#letGo();
  }

  /** Until this instance has the charge again, or another one must have it. */
  async #handOver(): Promise<void> {
    const { signal } = this.#closing;
    let thereSince: number | undefined;
    while (this.#served.size > 0 && !this.#isInCharge && !signal.aborted) {
      const isThere = await this.#store.readLog(Number.MAX_SAFE_INTEGER, { limit: 1 }).then(
        () => true,
        () => false,
      );
      thereSince = isThere ? (thereSince ?? performance.now()) : undefined;
      if (thereSince !== undefined && performance.now() - thereSince >= this.#handOverMilliseconds) {
        this.#log.warn({ mounts: [...this.#served.keys()] }, 'mounts are left to the instance in charge');
        return await this.#letGo();
      }
      await pause(Math.min(LOOK_MILLISECONDS, this.#handOverMilliseconds), undefined, { signal }).catch(
        () => undefined,
      );
    }
  }

  async #letGo(): Promise<void> {
    const served = [...this.#served.values()];
    this.#served.clear();
    for (const each of served) await each.close();
  }

  async #readOn(): Promise<void> {
    for (let more = true; more; ) {
      const page = await this.#store.readLog(this.#position, {
        types: ['MountRequested', 'MountEnding', 'MountClosed'],
      });
      for (const { type, data } of page.events) {
        // Closed by another instance while this one was not in charge, it may be served here still.
        if (type === 'MountClosed' && !this.#served.has(data.recoveryId)) this.#due.delete(data.recoveryId);
        else if ('recoveryId' in data) this.#due.add(data.recoveryId);
      }
      this.#position = page.next;
      more = page.next < page.highWater;
    }
  }

  async #tend(recoveryId: string): Promise<void> {
    const { mount } = await loadMount(this.#store, recoveryId);
    const { order } = mount;
    if (mount.ends === 'not') {
      if (order !== undefined && !this.#served.has(recoveryId)) await this.#serve(order);
    } else {
      await this.#served.get(recoveryId)?.close();
      this.#served.delete(recoveryId);
      if (order !== undefined && mount.ends === 'ending')
        await this.#decide('close', order, (standing) => closed(standing, keyOf(order)));
    }
    // Of those that are served only news is of interest.
    this.#due.delete(recoveryId);
  }

  async #serve(order: MountOrder): Promise<void> {
    const { recoveryId } = order;
    const key = keyOf(order);
    try {
      const served = await serveMount(this.#serving, order, (diskId, reason) => {
        const tell = this.#decide('tell', order, (standing) => readFailed(standing, key, diskId, reason));
        // Told at the next read otherwise: whoever reads comes again.
        tell.catch((error: unknown) =>
          this.#log.warn({ recoveryId, error: describeError(error) }, 'damage could not be told yet'),
        );
      });
      this.#served.set(recoveryId, served);
      await this.#decide('open', order, (standing) => opened(standing, key, served.mounts));
    } catch (error) {
      // Another instance has not let go of the place yet.
      if (!isPermanent(error) || hasCode(error, 'EADDRINUSE')) throw error;
      await this.#giveUp(order, error);
    }
  }

  /** It can never be served: the recovery ends with the reason. */
  async #giveUp(order: MountOrder, error: unknown): Promise<void> {
    const { recoveryId, vmId, hostId } = order;
    const refusal = {
      code: 'MountFailed',
      message: `The restore point that vm ${vmId} is to start from cannot be served: ${describeError(error)}.`,
      wayOut: 'Mend the cause named, or recover another restore point.',
    };
    const failed = { recoveryId, hostId, vmId, refusal, alternative: null };
    const command = { commandId: `mount failed ${recoveryId}`, metadata: metadataOf(order) };
    await decideRecovery(this.#store, recoveryId, command, (standing) =>
      recoveryFailed(standing, failed, new Date().toISOString()),
    );
  }

  async #decide(what: string, order: MountOrder, decide: Parameters<typeof decideMount>[3]): Promise<void> {
    const { recoveryId } = order;
    const command = { commandId: `${what} mount ${recoveryId}`, metadata: metadataOf(order) };
    await decideMount(this.#store, recoveryId, command, decide);
  }

  async #rest(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LOOK_MILLISECONDS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => undefined;
  }
}

const keyOf = ({ recoveryId, hostId, vmId }: MountOrder): MountKey => ({ recoveryId, hostId, vmId });

const metadataOf = ({ recoveryId }: MountOrder): EventMetadata => ({
  correlation: recoveryId,
  causation: `mount-${recoveryId}`,
  actor: 'export',
});
