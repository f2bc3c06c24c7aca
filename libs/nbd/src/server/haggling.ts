/**
 * Option haggling from the server's side: one option at a time, each answered by replies of which the last is an ACK or an error, until
 * the client has chosen an export or leaves. Reached after the greeting; leads to `requests.ts`.
 * Source: doc/proto.md, sections "Fixed newstyle negotiation", "Option types", "Metadata querying", "Block size constraints".
 */
import { type Machine, type Send, take } from '../protocol/machine.ts';
import { MAGIC, OPTION, OPTION_REPLY } from '../protocol/values.ts';
import { blockSizeOf, findExport, type NbdExport } from './export.ts';
import { clientViolation } from './faults.ts';
import type { Greeted } from './greeting.ts';
import {
  type Answer,
  answerInfo,
  answerList,
  answerMetaContexts,
  exportNameAnswer,
} from './option-answers.ts';
import { finalReply, Malformed, OptionData } from './option-words.ts';

/** What the two sides agreed on. */
export interface Agreement {
  readonly served: NbdExport;
  /** Replies come in chunks. */
  readonly structured: boolean;
  /** `base:allocation` was granted, under the id `ALLOCATION_ID`. */
  readonly allocation: boolean;
}

/** Holds a name and hundreds of context queries. More is refused in words; much more is no client of ours. */
const OPTION_BYTES_MAX = 64 * 1024;
const SKIPPED_BYTES_MAX = 16 * 1024 * 1024;
/** A client asks some five; whoever goes on for ever has other plans. */
const OPTIONS_MAX = 1000;

/** What was haggled out so far. */
export interface Haggled {
  structured: boolean;
  /** The export name that contexts were set for, when `base:allocation` was among them. */
  allocationOf: string | undefined;
}

/** Undefined when the client left, as it may. */
export function* haggle(
  exports: readonly NbdExport[],
  greeted: Greeted,
): Machine<Agreement | undefined, Send> {
  const haggled: Haggled = { structured: false, allocationOf: undefined };
  for (let count = 0; count < OPTIONS_MAX; count += 1) {
    const header = yield* take(16);
    if (header.readBigUInt64BE(0) !== MAGIC.option)
      throw clientViolation(`an option began with 0x${header.toString('hex', 0, 8)}`);
    const [option, length] = [header.readUInt32BE(8), header.readUInt32BE(12)];
    if (!greeted.fixed && option !== OPTION.exportName)
      throw clientViolation(`it asked option ${option} without having agreed to fixed newstyle`);
    if (length > OPTION_BYTES_MAX) {
      yield* skip(option, length);
      if (option === OPTION.exportName) throw clientViolation(`an export name of ${length} bytes`);
      yield { send: finalReply(option, OPTION_REPLY.errorTooBig, `${length} bytes are too many`) };
      continue;
    }
    const data = yield* take(length);
    switch (option) {
      case OPTION.exportName:
        return yield* chooseByName(exports, data.toString('utf8'), haggled, greeted.noZeroes);
      case OPTION.abort:
        yield { send: finalReply(option, OPTION_REPLY.ack) };
        return undefined;
      default: {
        const answer = answered(exports, option, data, haggled);
        yield { send: answer.replies };
        if (answer.chosen !== undefined) return agreement(answer.chosen.served, answer.chosen.name, haggled);
      }
    }
  }
  throw clientViolation(`it asked ${OPTIONS_MAX} options and chose no export`);
}

function answered(exports: readonly NbdExport[], option: number, data: Buffer, haggled: Haggled): Answer {
  try {
    switch (option) {
      case OPTION.list:
        return answerList(exports, new OptionData(data));
      case OPTION.info:
      case OPTION.go:
        return answerInfo(exports, option, new OptionData(data), haggled.structured);
      case OPTION.structuredReply:
        new OptionData(data).end();
        if (haggled.structured) throw new Malformed('structured replies were agreed on before');
        haggled.structured = true;
        return { replies: finalReply(option, OPTION_REPLY.ack) };
      case OPTION.listMetaContext:
      case OPTION.setMetaContext:
        return answerMetaContexts(exports, option, new OptionData(data), haggled);
      default:
        return {
          replies: finalReply(option, OPTION_REPLY.errorUnsupported, `option ${option} is not known here`),
        };
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { replies: finalReply(option, OPTION_REPLY.errorInvalid, error.message) };
  }
}

/** The old way, which has no words for a refusal: hanging up is the answer. */
function* chooseByName(
  exports: readonly NbdExport[],
  name: string,
  haggled: Haggled,
  noZeroes: boolean,
): Machine<Agreement, Send> {
  const served = findExport(exports, name);
  if (served === undefined)
    throw clientViolation(`it named the export ${JSON.stringify(name)}, which is not here`);
  // Whoever comes this way was never told of block sizes.
  if (blockSizeOf(served).minimum > 1)
    throw clientViolation(`it named the export ${JSON.stringify(name)} without asking for its block size`);
  yield { send: exportNameAnswer(served, haggled.structured, noZeroes) };
  return agreement(served, name, haggled);
}

/** Contexts are bound to the export that they were set for: with another one chosen there are none. */
const agreement = (served: NbdExport, name: string, haggled: Haggled): Agreement => ({
  served,
  structured: haggled.structured,
  allocation: haggled.structured && haggled.allocationOf === name,
});

/** Takes bytes that are of no use, so that what follows can be understood. */
function* skip(option: number, length: number): Machine<void> {
  if (length > SKIPPED_BYTES_MAX) throw clientViolation(`option ${option} of ${length} bytes`);
  const scrap = Buffer.allocUnsafe(Math.min(length, OPTION_BYTES_MAX));
  for (let left = length; left > 0; left -= scrap.length) yield { fill: scrap.subarray(0, left) };
}
