/**
 * Work that needs the repository goes on under what it holds while the repository is full, fails or is not there: no port and no proxy is to
 * blame for that, and giving them back would mend nothing. It is tried again, less and less often, until it goes on or patience
 * ends: then the backup ends with the reason. Whoever looks after the service is told meanwhile: a line in the log, and `reason` for readiness.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describeError, Fault, type Refusal } from '@backhaul/kernel';
import { isRepositoryFault, repositoryFaultCode } from '@backhaul/repository';
import type { Logger } from 'pino';

export interface PatienceOptions {
  readonly log: Logger;
  /** How long nothing may go on, before the backup is given up. */
  readonly seconds: number;
  readonly firstDelayMilliseconds?: number;
  readonly delayMillisecondsMax?: number;
}

export interface PatientWork<T> {
  /** Names it in the log. */
  readonly what: string;
  /** Grows when something went on, though not to the end: patience begins anew. */
  progress?(): number;
  work(): Promise<T>;
}

/** Patience has ended. Permanent: the message that brought the work will not mend it. */
export class RepositoryGivenUp extends Fault {
  override readonly name = 'RepositoryGivenUp';
  constructor(seconds: number, cause: unknown) {
    super(`The repository could not be used for ${seconds} s`, {
      ...{ cause, permanent: true },
      code: repositoryFaultCode(cause) ?? 'RepositoryAway',
    });
  }
}

export class RepositoryPatience {
  readonly #options: Required<PatienceOptions>;
  /** Why each that waits does so. */
  readonly #waiting = new Map<symbol, string>();

  constructor(options: PatienceOptions) {
    this.#options = { firstDelayMilliseconds: 1_000, delayMillisecondsMax: 30_000, ...options };
  }

  /** Why work waits; undefined while none does. */
  get reason(): string | undefined {
    const [reason] = this.#waiting.values();
    return reason;
  }

  /** Throws what is no fault of the repository at once, and the signal's reason when it aborts. */
  async through<T>({ what, progress, work }: PatientWork<T>, signal: AbortSignal): Promise<T> {
    const { log } = this.#options;
    const self = Symbol(what);
    let row: Row | undefined;
    try {
      for (;;) {
        signal.throwIfAborted();
        try {
          const done = await work();
          if (row !== undefined) log.info({ what }, 'the repository can be used again');
          return done;
        } catch (error) {
          if (!isRepositoryFault(error) || signal.aborted) throw error;
          const at = progress?.() ?? 0;
          if (row === undefined || row.progress !== at) row = { begunAt: Date.now(), progress: at, times: 0 };
          await this.#wait(what, self, row, error, signal);
        }
      }
    } finally {
      this.#waiting.delete(self);
    }
  }

  async #wait(what: string, self: symbol, row: Row, error: unknown, signal: AbortSignal): Promise<void> {
    const { log, seconds, firstDelayMilliseconds, delayMillisecondsMax } = this.#options;
    if (Date.now() - row.begunAt >= seconds * 1000) throw new RepositoryGivenUp(seconds, error);
    const reason = describeError(error);
    if (this.#waiting.get(self) !== reason) log.warn({ what, reason }, 'the repository is waited for');
    this.#waiting.set(self, reason);
    const delay = Math.min(firstDelayMilliseconds * 2 ** Math.min(row.times, 30), delayMillisecondsMax);
    row.times += 1;
    await pause(delay, undefined, { signal });
  }
}

/** Faults one after the other, with nothing that went on between them. */
interface Row {
  readonly begunAt: number;
  readonly progress: number;
  times: number;
}

export const refusalOf = (error: RepositoryGivenUp, vmId: string): Refusal => ({
  code: error.code ?? 'RepositoryAway',
  message: `The backup of vm ${vmId} was given up: ${describeError(error)}.`,
  wayOut:
    'Make room in the repository, or mount it, then start the backup again (BACKHAUL_REPOSITORY_PATIENCE_SECONDS says how long ingest waits).',
});
