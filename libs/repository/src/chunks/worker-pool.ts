/**
 * A fixed number of worker threads for the jobs of chunk-worker.ts. A thread is started when it is first needed and
 * replaced when it dies; an idle pool does not keep the process alive.
 */
import { Worker } from 'node:worker_threads';
import { Fault, invariant } from '@backhaul/kernel';
import type { JobKind, Jobs, Reply, Request } from './chunk-worker.ts';

/** One job runs and one is there already when it ends, so that a thread never waits for the event loop. */
const JOBS_PER_THREAD = 2;

interface Job {
  readonly request: Request;
  readonly transfer: readonly ArrayBuffer[];
  readonly resolve: (answer: Jobs[JobKind]['answer']) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
}

export class WorkerPool {
  readonly #size: number;
  readonly #memory: SharedArrayBuffer;
  readonly #threads: Thread[] = [];
  readonly #queue: Job[] = [];
  #nextId = 0;
  #closed = false;

  /** `memory` is what `slot` in a job means. */
  constructor(size: number, memory: SharedArrayBuffer) {
    invariant(size >= 1, 'A pool has at least one thread');
    this.#size = size;
    this.#memory = memory;
  }

  /** `transfer`: buffers inside `ask` that the caller gives away. */
  run<K extends JobKind>(
    kind: K,
    ask: Jobs[K]['ask'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Jobs[K]['answer']> {
    if (this.#closed) return Promise.reject(new Fault('The repository was closed'));
    this.#nextId += 1;
    const request = { id: this.#nextId, kind, ask } as Request;
    const { promise, resolve, reject } = Promise.withResolvers<Jobs[JobKind]['answer']>();
    this.#queue.push({ request, transfer, resolve, reject });
    this.#dispatch();
    return promise as Promise<Jobs[K]['answer']>;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#threads.splice(0).map(({ worker }) => worker.terminate()));
    for (const job of this.#queue.splice(0)) job.reject(new Fault('The repository was closed'));
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const thread = this.#freeThread();
      if (thread === undefined) return;
      const job = this.#queue.shift() as Job;
      try {
        thread.worker.postMessage(job.request, [...job.transfer]);
      } catch (error) {
        job.reject(
          new Fault('The buffer cannot be given to a worker thread', { cause: error, permanent: true }),
        );
        continue;
      }
      if (thread.jobs.size === 0) thread.worker.ref();
      thread.jobs.set(job.request.id, job);
    }
  }

  #freeThread(): Thread | undefined {
    const least = this.#threads.toSorted((a, b) => a.jobs.size - b.jobs.size)[0];
    if (least !== undefined && least.jobs.size === 0) return least;
    if (this.#threads.length < this.#size) return this.#start();
    return least !== undefined && least.jobs.size < JOBS_PER_THREAD ? least : undefined;
  }

  #start(): Thread {
    const worker = new Worker(new URL('./chunk-worker.ts', import.meta.url), {
      name: 'chunks',
      workerData: { memory: this.#memory },
    });
    const thread: Thread = { worker, jobs: new Map() };
    worker.unref();
    worker.on('message', (reply: Reply) => this.#settle(thread, reply));
    worker.on('error', (error) => this.#lost(thread, error));
    worker.on('exit', (code) => this.#lost(thread, new Error(`it exited with code ${code}`)));
    this.#threads.push(thread);
    return thread;
  }

  #settle(thread: Thread, reply: Reply): void {
    const job = thread.jobs.get(reply.id);
    invariant(job !== undefined, `A worker thread answered job ${reply.id}, which it does not have`);
    thread.jobs.delete(reply.id);
    if (thread.jobs.size === 0) thread.worker.unref();
    if ('error' in reply) job.reject(new Fault(`A ${job.request.kind} job failed: ${reply.error}`));
    else job.resolve(reply.answer);
    this.#dispatch();
  }

  #lost(thread: Thread, cause: Error): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    for (const job of thread.jobs.values()) {
      job.reject(new Fault('A worker thread of the repository died', { cause }));
    }
    thread.jobs.clear();
    if (!this.#closed) this.#dispatch();
  }
}
