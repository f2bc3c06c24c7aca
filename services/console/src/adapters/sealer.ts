/** Seals what has come into the log, from time to time, off the way of every append. Any number of these may run; one is enough. */
import { setTimeout as pause } from 'node:timers/promises';
import { type EventStore, openSealKey, type Sealed, sealLog } from '@backhaul/event-store';

/** Runs until the signal aborts. What fails is told, and tried again when the next seal is due. */
export async function runSealer(options: {
  store: EventStore;
  keyFile: string;
  milliseconds: number;
  signal: AbortSignal;
  onSealed(sealed: Sealed): void;
  onFault(error: unknown): void;
}): Promise<void> {
  const { store, keyFile, milliseconds, signal, onSealed, onFault } = options;
  while (!signal.aborted) {
    try {
      const key = await openSealKey(keyFile);
      for (const sealed of await sealLog(store, key, { signal })) onSealed(sealed);
    } catch (error) {
      onFault(error);
    }
    await pause(milliseconds, undefined, { signal }).catch(() => undefined);
  }
}
