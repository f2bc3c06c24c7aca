/**
 * From the answers of a server to runs that cover what was asked for exactly: an answer may be shorter or longer than its
 * question, and cut one run into many. Source: doc/proto.md, `NBD_CMD_BLOCK_STATUS` in section "Request types".
 */
import { violation } from './faults.ts';
import type { Request } from './requests.ts';
import type { StatusRun } from './transactions.ts';
import { COMMAND } from './values.ts';

/** A run of the disk with one set of flags in one metadata context. Units: bytes. */
export interface StatusExtent {
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

/** The length field has 32 bits; this leaves signed ones in peace and is a multiple of every minimum block. */
const QUESTION_BYTES_MAX = 2 ** 31 - 2 ** 16;

/** Walks [offset, end) of an export of `sizeBytes`: ask `question`, hand its runs to `answer`, until it is undefined. */
export class StatusWalk {
  readonly #end: number;
  readonly #askEnd: number;
  readonly #alignment: number;
  /** All before this is answered. */
  #at: number;
  #open: StatusExtent | undefined;

  /** `alignment`: the server's minimum block, 1 where it advertised none: then its own answers say where to go on. */
  constructor(offset: number, length: number, alignment: number, sizeBytes: number) {
    this.#at = offset;
    this.#end = offset + length;
    this.#alignment = alignment;
    this.#askEnd = Math.min(sizeBytes, Math.ceil(this.#end / alignment) * alignment);
  }

  get question(): Request | undefined {
    if (this.#at >= this.#end) return undefined;
    const offset = this.#at - (this.#at % this.#alignment);
    const length = Math.min(this.#askEnd - offset, QUESTION_BYTES_MAX);
    return { command: COMMAND.blockStatus, flags: 0, offset, length };
  }

  /** Takes the answer to the question and yields the runs that are known to be whole: the last one may still grow. */
  *answer(question: Request, runs: readonly StatusRun[]): Generator<StatusExtent> {
    const before = this.#at;
    let start = question.offset;
    for (const run of runs) {
      const end = Math.min(start + run.length, this.#end);
      start += run.length;
      if (end <= this.#at) continue;
      const { offset, length, flags } = this.#open ?? { offset: this.#at, length: 0, flags: run.flags };
      if (flags === run.flags) {
        this.#open = { offset, length: length + end - this.#at, flags };
      } else {
        yield { offset, length, flags };
        this.#open = { offset: this.#at, length: end - this.#at, flags: run.flags };
      }
      this.#at = end;
    }
    if (this.#at === before)
      throw violation(`a block status that says nothing of the bytes from offset ${before} on`);
    if (this.#at >= this.#end && this.#open !== undefined) {
      yield this.#open;
      this.#open = undefined;
    }
  }
}
