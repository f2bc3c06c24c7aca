/**
 * The whole handshake: from the first byte of the server to the moment when requests may be sent.
 * Source: doc/proto.md, section "Handshake". The road: greeting -> STRUCTURED_REPLY -> SET_META_CONTEXT -> GO, with EXPORT_NAME
 * where the server knows no GO. Leads to transmission (`requests.ts` out, `replies.ts` in).
 */
import { Fault } from '@backhaul/kernel';
import { type BlockSize, type ChosenExport, DEFAULTS, exportName, go } from './export-choice.ts';
import { greet } from './greeting.ts';
import type { Machine, Send } from './machine.ts';
import { askMetaContexts, askStructuredReplies, type GrantedContext, optionRequest } from './options.ts';
import { OPTION, TRANSMISSION_FLAG } from './values.ts';

export interface Wishes {
  readonly exportName: string;
  readonly contexts: readonly string[];
}

/** What the two sides agreed on. */
export interface Agreement {
  readonly sizeBytes: number;
  readonly blockSize: BlockSize;
  /** Reads are answered in chunks. */
  readonly structuredReplies: boolean;
  /** All that the server granted, asked for or not: any of them may be met in a block status reply. */
  readonly contexts: readonly GrantedContext[];
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canFua: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  readonly canMultiConnect: boolean;
}

export function* handshake(wishes: Wishes): Machine<Agreement, Send> {
  const greeting = yield* greet();
  if (greeting.style === 'oldstyle') {
    if (wishes.exportName !== '')
      throw new Fault(
        `The server speaks oldstyle NBD and has one export without a name, not ${JSON.stringify(wishes.exportName)}`,
        { permanent: true, code: 'UnknownExport' },
      );
    return agreement({ ...greeting, blockSize: DEFAULTS }, false, []);
  }
  if (!greeting.fixed) return agreement(yield* exportName(wishes.exportName, greeting.noZeroes), false, []);

  try {
    const structured = yield* askStructuredReplies();
    // Contexts are bound to the export name given here; GO must name the same one.
    const contexts =
      structured && wishes.contexts.length > 0
        ? yield* askMetaContexts(wishes.exportName, wishes.contexts)
        : [];
    const chosen = yield* go(wishes.exportName);
    if (chosen !== undefined) return agreement(chosen, structured, contexts);
    return agreement(yield* exportName(wishes.exportName, greeting.noZeroes), structured, contexts);
  } catch (error) {
    // "Termination of the session during option haggling": a client that does not go on says so.
    yield { send: [optionRequest(OPTION.abort, new Uint8Array(0))] };
    throw error;
  }
}

function agreement(
  chosen: ChosenExport,
  structuredReplies: boolean,
  contexts: readonly GrantedContext[],
): Agreement {
  // "Transmission flags": without HAS_FLAGS none of them means anything. Bits not named here are ignored.
  const has = (flag: number): boolean =>
    (chosen.flags & TRANSMISSION_FLAG.hasFlags) !== 0 && (chosen.flags & flag) !== 0;
  return {
    sizeBytes: chosen.sizeBytes,
    blockSize: chosen.blockSize,
    structuredReplies,
    contexts,
    readOnly: has(TRANSMISSION_FLAG.readOnly),
    canFlush: has(TRANSMISSION_FLAG.sendFlush),
    canFua: has(TRANSMISSION_FLAG.sendFua),
    canTrim: has(TRANSMISSION_FLAG.sendTrim),
    canWriteZeroes: has(TRANSMISSION_FLAG.sendWriteZeroes),
    canMultiConnect: has(TRANSMISSION_FLAG.canMultiConn),
  };
}
