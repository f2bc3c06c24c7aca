/**
 * Choosing the export, which ends the handshake. Reached once everything else has been haggled over.
 * Source: doc/proto.md, `NBD_OPT_GO`, `NBD_INFO_EXPORT`, `NBD_INFO_BLOCK_SIZE` and `NBD_OPT_EXPORT_NAME` in sections
 * "Option types" and "Option reply types"; "Block size constraints".
 */
import { Fault } from '@backhaul/kernel';
import { safeNumber, text, violation } from './faults.ts';
import { type Machine, type Send, take } from './machine.ts';
import { finalOf, haggle, lengthAndText, optionRequest, throwIfUnwelcome } from './options.ts';
import { DEFAULT_BLOCK_SIZE, INFO, LARGEST_MINIMUM_BLOCK, OPTION, OPTION_REPLY } from './values.ts';

export interface BlockSize {
  /** Offsets and lengths are multiples of it. A power of two. */
  readonly minimum: number;
  readonly preferred: number;
  /** The most bytes that one read or write may carry. */
  readonly maximumPayload: number;
  /** False: the server said nothing, and these are the protocol's careful defaults. */
  readonly advertised: boolean;
}

export interface ChosenExport {
  readonly sizeBytes: number;
  readonly flags: number;
  readonly blockSize: BlockSize;
}

export const DEFAULTS: BlockSize = { ...DEFAULT_BLOCK_SIZE, advertised: false };

/** Undefined when the server does not know this option: then EXPORT_NAME is the way. */
export function* go(exportName: string): Machine<ChosenExport | undefined, Send> {
  const wishes = Buffer.alloc(4);
  wishes.writeUInt16BE(1, 0);
  wishes.writeUInt16BE(INFO.blockSize, 2);
  const replies = yield* haggle(OPTION.go, Buffer.concat([lengthAndText(exportName), wishes]));
  const final = finalOf(replies);
  throwIfUnwelcome(final);
  if (final.type === OPTION_REPLY.errorUnsupported) return undefined;
  if (final.type !== OPTION_REPLY.ack) throw refusedExport(exportName, final.type, text(final.data));

  let size: { sizeBytes: number; flags: number } | undefined;
  let blockSize = DEFAULTS;
  for (const { data } of replies.filter(({ type }) => type === OPTION_REPLY.info)) {
    if (data.length < 2) throw violation('an information reply has no type');
    const kind = data.readUInt16BE(0);
    if (kind === INFO.export) {
      if (data.length !== 12) throw violation(`the export was described in ${data.length} bytes, not 12`);
      size = {
        sizeBytes: safeNumber(data.readBigUInt64BE(2), 'the size of the export'),
        flags: data.readUInt16BE(10),
      };
    } else if (kind === INFO.blockSize) {
      if (data.length !== 14) throw violation(`block sizes came in ${data.length} bytes, not 14`);
      blockSize = checkedBlockSize(data.readUInt32BE(2), data.readUInt32BE(6), data.readUInt32BE(10));
    }
    // Any other information (a name, a description) was not asked for and changes nothing.
  }
  if (size === undefined) throw violation('it agreed to GO without describing the export');
  return { ...size, blockSize };
}

/** The old way: no reason is given when the export does not exist, the server just hangs up. */
export function* exportName(name: string, noZeroes: boolean): Machine<ChosenExport, Send> {
  yield { send: [optionRequest(OPTION.exportName, Buffer.from(name, 'utf8'))] };
  const answer = yield* take(noZeroes ? 10 : 10 + 124);
  return {
    sizeBytes: safeNumber(answer.readBigUInt64BE(0), 'the size of the export'),
    flags: answer.readUInt16BE(8),
    blockSize: DEFAULTS,
  };
}

function checkedBlockSize(minimum: number, preferred: number, maximum: number): BlockSize {
  const isPowerOfTwo = (value: number): boolean => value > 0 && Number.isInteger(Math.log2(value));
  if (!isPowerOfTwo(minimum) || minimum > LARGEST_MINIMUM_BLOCK || maximum < minimum)
    throw violation(`it advertised a smallest block of ${minimum} and a largest of ${maximum} bytes`);
  // All ones mean "no limit of mine"; a request's own length then is the limit, and nobody sends one that long.
  const maximumPayload = maximum - (maximum % minimum);
  return { minimum, preferred: Math.max(preferred, minimum), maximumPayload, advertised: true };
}

function refusedExport(name: string, type: number, said: string): Fault {
  const quoted = JSON.stringify(name);
  const because = said === '' ? '' : ` (${said})`;
  if (type === OPTION_REPLY.errorUnknown)
    // Not permanent: a disk may be hot-added to a proxy after this.
    return new Fault(`The server has no export ${quoted}${because}`, { code: 'UnknownExport' });
  if (type === OPTION_REPLY.errorPolicy)
    return new Fault(`The server does not let us have export ${quoted}${because}`, {
      permanent: true,
      code: 'ExportRefused',
    });
  const hex = `0x${type.toString(16)}`;
  return new Fault(`The server refused export ${quoted} with option error ${hex}${because}`, {
    permanent: type !== OPTION_REPLY.errorPlatform,
    code: 'ExportRefused',
  });
}
