/**
 * From a request to its reply: refused by the rules, or performed at the export and answered in the dialect that was agreed on. A failure
 * of the disk is the answer to that request alone. Whatever an export hands over is checked before it is sent: a reply that does not add up
 * would be wrong bytes at the client.
 */
import { describeError, invariant } from '@backhaul/kernel';
import { COMMAND, COMMAND_FLAG, ERROR_VALUE, type ErrorName } from '../protocol/values.ts';
import type { ReadPiece, Run, TakeMemory } from './export.ts';
import type { Agreement } from './haggling.ts';
import {
  emptyChunk,
  errorChunk,
  lengthOf,
  type Parts,
  readChunks,
  simpleReply,
  statusChunk,
} from './reply-words.ts';
import type { Asked } from './requests.ts';
import { refusalOf } from './rules.ts';

/** Runs in one answer about block status: 64 KiB of them. The client asks on. */
const RUNS_MAX = 8192;

export interface Performed {
  readonly reply: Parts;
  /** Why the disk failed, for the log: not a refusal, which is the client's own affair. */
  readonly failure?: unknown;
}

export async function perform(agreement: Agreement, ask: Asked, take: TakeMemory): Promise<Performed> {
  const refusal = refusalOf(agreement, ask);
  if (refusal !== undefined) return { reply: errorReply(agreement, ask, refusal.code, refusal.words) };
  try {
    return { reply: await performed(agreement, ask, take) };
  } catch (failure) {
    return { reply: errorReply(agreement, ask, errorNameOf(failure), describeError(failure)), failure };
  }
}

async function performed({ served, structured }: Agreement, ask: Asked, take: TakeMemory): Promise<Parts> {
  const { cookie, payload } = ask;
  const { command, flags, offset, length } = ask.asked;
  switch (command) {
    case COMMAND.read: {
      const pieces = await served.read(offset, length, take);
      assertWhole(pieces, length);
      if (!structured) return simpleReply(cookie, undefined, pieces);
      return readChunks(cookie, offset, pieces, (flags & COMMAND_FLAG.df) !== 0);
    }
    case COMMAND.blockStatus: {
      const runsMax = (flags & COMMAND_FLAG.reqOne) !== 0 ? 1 : RUNS_MAX;
      const runs = await served.extents(offset, length, runsMax);
      assertInside(runs, length, runsMax);
      return statusChunk(cookie, runs);
    }
    case COMMAND.write:
      invariant(payload !== undefined, 'A write that was not refused has its data');
      await served.write?.(offset, payload);
      break;
    case COMMAND.writeZeroes:
      await served.writeZeroes?.(offset, length, { mayTrim: (flags & COMMAND_FLAG.noHole) === 0 });
      break;
    case COMMAND.trim:
      await served.trim?.(offset, length);
      break;
    case COMMAND.cache:
      await served.cache?.(offset, length);
      break;
    case COMMAND.flush:
      await served.flush?.();
      break;
    default:
      invariant(false, `Command ${command} was not refused`);
  }
  const isSafeAtOnce = (flags & COMMAND_FLAG.fua) !== 0 && CHANGING.has(command);
  if (isSafeAtOnce) await served.flush?.();
  return structured ? emptyChunk(cookie) : simpleReply(cookie, undefined);
}

const CHANGING = new Set<number>([COMMAND.write, COMMAND.trim, COMMAND.writeZeroes]);

const errorReply = ({ structured }: Agreement, { cookie }: Asked, code: ErrorName, words: string): Parts =>
  structured ? errorChunk(cookie, code, words) : simpleReply(cookie, code);

/** The first code in the chain of causes that the protocol has a number for. */
function errorNameOf(failure: unknown): ErrorName {
  for (let current = failure; current instanceof Error; current = current.cause) {
    const code = (current as { code?: unknown }).code;
    if (code === 'EDQUOT' || code === 'EFBIG') return 'ENOSPC';
    if (typeof code === 'string' && code in ERROR_VALUE) return code as ErrorName;
  }
  return 'EIO';
}

function assertWhole(pieces: readonly ReadPiece[], length: number): void {
  const bytes = pieces.reduce((sum, piece) => sum + lengthOf(piece), 0);
  invariant(
    bytes === length && pieces.every((piece) => lengthOf(piece) > 0),
    `A read of ${length} bytes gave ${bytes}`,
  );
}

function assertInside(runs: readonly Run[], length: number, runsMax: number): void {
  const bytes = runs.reduce((sum, run) => sum + run.length, 0);
  const isRight = runs.length > 0 && runs.length <= runsMax && runs.every((run) => run.length > 0);
  invariant(isRight && bytes <= length, `${runs.length} runs of ${bytes} bytes in an answer about ${length}`);
}
