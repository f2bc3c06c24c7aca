/**
 * A request that waits for its reply, and what a correct reply to it may hold. Source: doc/proto.md, sections
 * "Request types" and "Structured reply types". Every check here answers one way in which a server could hand us wrong bytes.
 */
import type { Fault } from '@backhaul/kernel';
import { Coverage } from './coverage.ts';
import { reportedError, violation } from './faults.ts';
import { type Request, requestLine } from './requests.ts';

/** A run of the disk as the server describes it. */
export interface StatusRun {
  readonly length: number;
  readonly flags: number;
}

abstract class Pending {
  readonly request: Request;
  #error: Fault | undefined;

  constructor(request: Request) {
    this.request = request;
  }

  /** The reply is not a success, whatever else it holds. The first error is kept: later ones follow from it. */
  reportError(value: number, text: string, offset?: number): void {
    if (value === 0) throw violation(`an error of value 0 in the reply to ${requestLine(this.request)}`);
    this.#error ??= reportedError(value, text, offset);
  }

  get error(): Fault | undefined {
    return this.#error;
  }

  /** Throws when a reply that claims success has not brought all it must. */
  abstract checkSuccess(): void;
}

/** Its data belongs into `target`, whose length is the request's. */
export class PendingRead extends Pending {
  readonly #target: Uint8Array;
  readonly #coverage: Coverage;

  constructor(request: Request, target: Uint8Array) {
    super(request);
    this.#target = target;
    this.#coverage = new Coverage(request.length);
  }

  /** The place for `length` bytes of the disk at `offset`. */
  placeFor(offset: number, length: number): Uint8Array {
    const start = offset - this.request.offset;
    if (!this.#coverage.add(start, length))
      throw violation(
        `${length} bytes at offset ${offset}, outside of or twice in the reply to ${requestLine(this.request)}`,
      );
    return this.#target.subarray(start, start + length);
  }

  checkSuccess(): void {
    if (!this.#coverage.isComplete)
      throw violation(`success without all of the bytes for ${requestLine(this.request)}`);
  }
}

/** Asks about all contexts that were granted; `runs` holds the answer for each by its id. */
export class PendingStatus extends Pending {
  readonly runs = new Map<number, StatusRun[]>();
  readonly #contextIds: ReadonlySet<number>;

  constructor(request: Request, contextIds: ReadonlySet<number>) {
    super(request);
    this.#contextIds = contextIds;
  }

  describe(contextId: number, runs: StatusRun[]): void {
    const about = `in the reply to ${requestLine(this.request)}`;
    if (!this.#contextIds.has(contextId)) throw violation(`the unknown context id ${contextId} ${about}`);
    if (this.runs.has(contextId)) throw violation(`the context id ${contextId} twice ${about}`);
    // A run of no bytes would keep whoever walks the disk by these answers on one spot for ever.
    if (runs.length === 0 || runs.some((run) => run.length === 0))
      throw violation(`a status that describes no bytes ${about}`);
    this.runs.set(contextId, runs);
  }

  checkSuccess(): void {
    for (const id of this.#contextIds)
      if (!this.runs.has(id))
        throw violation(`success without context id ${id} for ${requestLine(this.request)}`);
  }
}

/** Answered by success or an error and nothing else: write, write zeroes, trim, flush. */
export class PendingEffect extends Pending {
  checkSuccess(): void {}
}

export type Transaction = PendingRead | PendingStatus | PendingEffect;
