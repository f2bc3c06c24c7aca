/**
 * What a server says to each option that it knows. Pure: the exports and the question in, the replies out.
 * Source: doc/proto.md, sections "Option types", "Option reply types", "Metadata contexts", "Transmission flags".
 */
import { INFO, OPTION, OPTION_REPLY, TRANSMISSION_FLAG } from '../protocol/values.ts';
import { blockSizeOf, findExport, type NbdExport } from './export.ts';
import type { Haggled } from './haggling.ts';
import {
  acknowledged,
  finalReply,
  Malformed,
  type OptionData,
  optionReply,
  u16,
  u32,
  u64,
} from './option-words.ts';

export interface Answer {
  readonly replies: readonly Uint8Array[];
  /** The client has chosen: transmission begins. */
  readonly chosen?: { readonly served: NbdExport; readonly name: string };
}

export const ALLOCATION = 'base:allocation';
/** Our name for `base:allocation` in block status replies. */
export const ALLOCATION_ID = 1;

const text = (value: string): Buffer => Buffer.from(value, 'utf8');
const lengthAndText = (value: string): Buffer => Buffer.concat([u32(Buffer.byteLength(value)), text(value)]);

export function answerList(exports: readonly NbdExport[], data: OptionData): Answer {
  data.end();
  const replies = exports.map(({ name, description }) =>
    optionReply(OPTION.list, OPTION_REPLY.server, lengthAndText(name), text(description ?? '')),
  );
  return { replies: [...replies, acknowledged(OPTION.list)] };
}

/** INFO and GO ask the same; after GO there is no way back. */
export function answerInfo(
  exports: readonly NbdExport[],
  option: number,
  data: OptionData,
  structured: boolean,
): Answer {
  const name = data.text('the name of the export');
  const asked = new Set(Array.from({ length: data.u16() }, () => data.u16()));
  data.end();
  const served = findExport(exports, name);
  if (served === undefined) return { replies: unknownExport(option, name) };
  const { minimum, preferred, maximumPayload } = blockSizeOf(served);
  if (option === OPTION.go && minimum > 1 && !asked.has(INFO.blockSize)) {
    const words = `ask for the block size of this export, which is ${minimum}`;
    return { replies: finalReply(option, OPTION_REPLY.errorBlockSizeRequired, words) };
  }
  const info = (kind: number, ...parts: Buffer[]): Uint8Array =>
    optionReply(option, OPTION_REPLY.info, u16(kind), ...parts);
  const replies = [info(INFO.export, u64(served.sizeBytes), u16(transmissionFlags(served, structured)))];
  if (asked.has(INFO.name)) replies.push(info(INFO.name, text(served.name)));
  if (asked.has(INFO.description) && served.description !== undefined)
    replies.push(info(INFO.description, text(served.description)));
  if (asked.has(INFO.blockSize))
    replies.push(info(INFO.blockSize, u32(minimum), u32(preferred), u32(maximumPayload)));
  replies.push(acknowledged(option));
  return option === OPTION.go ? { replies, chosen: { served, name } } : { replies };
}

/** LIST tells what there is; SET grants what is asked for by its whole name, and takes back what was granted before. */
export function answerMetaContexts(
  exports: readonly NbdExport[],
  option: number,
  data: OptionData,
  haggled: Haggled,
): Answer {
  const isSet = option === OPTION.setMetaContext;
  if (isSet) haggled.allocationOf = undefined;
  if (!haggled.structured) throw new Malformed('contexts are for connections with structured replies');
  const name = data.text('the name of the export');
  const count = data.u32();
  const queries: string[] = [];
  for (let i = 0; i < count; i += 1) queries.push(data.text('a query'));
  data.end();
  if (findExport(exports, name) === undefined) return { replies: unknownExport(option, name) };
  const isAsked = isSet
    ? queries.includes(ALLOCATION)
    : queries.length === 0 || queries.some((query) => query === ALLOCATION || query === 'base:');
  if (isSet && isAsked) haggled.allocationOf = name;
  const context = optionReply(
    option,
    OPTION_REPLY.metaContext,
    u32(isSet ? ALLOCATION_ID : 0),
    text(ALLOCATION),
  );
  return { replies: [...(isAsked ? [context] : []), acknowledged(option)] };
}

export function exportNameAnswer(
  served: NbdExport,
  structured: boolean,
  noZeroes: boolean,
): readonly Uint8Array[] {
  const answer = [u64(served.sizeBytes), u16(transmissionFlags(served, structured))];
  return noZeroes ? answer : [...answer, Buffer.alloc(124)];
}

export function transmissionFlags(served: NbdExport, structured: boolean): number {
  const flag = TRANSMISSION_FLAG;
  const writes = !served.readOnly;
  const canZero = writes && served.writeZeroes !== undefined;
  const flags: readonly (readonly [boolean, number])[] = [
    [true, flag.hasFlags],
    [served.readOnly, flag.readOnly],
    [served.flush !== undefined, flag.sendFlush],
    [writes && served.flush !== undefined, flag.sendFua],
    [writes && served.trim !== undefined, flag.sendTrim],
    [canZero, flag.sendWriteZeroes],
    [canZero && served.zeroesAreFast === true, flag.sendFastZero],
    [structured, flag.sendDf],
    [served.cache !== undefined, flag.sendCache],
    // "All writes that were answered on any connection are covered by a flush on any other": one object serves them all.
    [served.readOnly || served.flush !== undefined, flag.canMultiConn],
  ];
  return flags.reduce((sum, [isSet, bit]) => (isSet ? sum | bit : sum), 0);
}

const unknownExport = (option: number, name: string): readonly Uint8Array[] =>
  finalReply(option, OPTION_REPLY.errorUnknown, `there is no export ${JSON.stringify(name.slice(0, 200))}`);
