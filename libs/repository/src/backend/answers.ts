/**
 * How long calls to a file system may take. One that hangs raises no error: its calls never come back, and each keeps a thread of the process
 * and the memory that it was given. So each is timed, and one that is overdue counts as the repository failing. While one is overdue
 * others are told so at once, but for a try now and then, at intervals that double. However often it is tried, no more calls than there are
 * places are ever under way, so that threads are left for what does not need the repository.
 */
import { Fault } from '@backhaul/kernel';
import { FAILING } from '../faults.ts';

/** Of one kind; with reads and writes, less than the threads that services have for files (libs/service, file-threads.ts). */
const PLACES = 40;

/** The call goes on in the file system, if it ever does: what was given to it may be used again when `settled` resolves. */
export class Unanswered extends Fault {
  override readonly name = 'Unanswered';
  readonly settled: Promise<void>;

  constructor(message: string, settled: Promise<void>) {
    super(message, { code: FAILING });
    this.settled = settled;
  }
}

interface Call {
  readonly what: string;
  readonly begunAt: number;
}

export class Answers {
  /** Not yet answered, each in a place of its own. */
  readonly #open = new Set<Call>();
  readonly #overdue = new Set<Call>();
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  #overdueSince = 0;
  #triedAt = 0;

  /** Throws a Fault with the code `RepositoryFailing` where the file system hangs, and what `work` throws. */
  async of<T>(what: string, milliseconds: number, work: () => Promise<T>): Promise<T> {
    while (this.#overdue.size > 0 || this.#open.size >= PLACES) {
      if (this.#overdue.size > 0) {
        if (!this.#mayTry()) throw this.#hangs(what);
        this.#triedAt = Date.now();
        break;
      }
      await this.#place(what, milliseconds);
    }
    const call: Call = { what, begunAt: Date.now() };
    this.#open.add(call);
    const working = work();
    const settled = working.then(
      () => this.#settled(call, true),
      () => this.#settled(call, false),
    );
    return await inTime(milliseconds, working, () => {
      this.#overdueNow(call);
      return new Unanswered(
        `${what} has had no answer for ${milliseconds / 1000} s: the file system hangs`,
        settled,
      );
    });
  }

  #mayTry(): boolean {
    return this.#open.size < PLACES && Date.now() - this.#triedAt >= this.#triedAt - this.#overdueSince;
  }

  async #place(what: string, milliseconds: number): Promise<void> {
    const place = Promise.withResolvers<void>();
    this.#waiting.push(place);
    await inTime(milliseconds, place.promise, () => {
      this.#waiting.splice(this.#waiting.indexOf(place), 1);
      return new Fault(`${what} has had no turn for ${milliseconds / 1000} s`, { code: FAILING });
    });
  }

  #overdueNow(call: Call): void {
    if (this.#overdue.size === 0) {
      this.#overdueSince = call.begunAt;
      this.#triedAt = Date.now();
    }
    this.#overdue.add(call);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#hangs(call.what));
  }

  /** One that was begun later and is answered says that those before it are lost, and what is there now is well. */
  #settled(call: Call, isAnswered: boolean): void {
    this.#open.delete(call);
    this.#overdue.delete(call);
    if (isAnswered)
      for (const other of this.#overdue) if (other.begunAt < call.begunAt) this.#overdue.delete(other);
    if (this.#overdue.size === 0 && this.#open.size < PLACES) this.#waiting.shift()?.resolve();
  }

  #hangs(what: string): Fault {
    const [oldest] = this.#overdue;
    const since = new Date(this.#overdueSince).toISOString();
    return new Fault(
      `${what} was not tried: the file system hangs, and has not answered since ${since} (${oldest?.what ?? what})`,
      { code: FAILING },
    );
  }
}

async function inTime<T>(milliseconds: number, work: Promise<T>, late: () => Fault): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), milliseconds);
  });
  try {
    return await Promise.race([work, timeUp]);
  } finally {
    clearTimeout(timer);
  }
}
