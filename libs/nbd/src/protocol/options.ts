/**
 * Option haggling: one question at a time, each answered by replies of which the last is an ACK or an error.
 * Reached after a fixed newstyle greeting, again for each option. Source: doc/proto.md, sections
 * "Fixed newstyle negotiation", "Option types", "Option reply types", "Metadata querying".
 * Holds the two options that only enrich the connection; those that choose the export are in `export-choice.ts`.
 */
import { Fault } from '@backhaul/kernel';
import { text, violation } from './faults.ts';
import { type Machine, type Send, take } from './machine.ts';
import { isOptionError, MAGIC, OPTION, OPTION_REPLY, STRING_BYTES_MAX } from './values.ts';

export interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** A metadata context that the server granted; `id` stands for it in block status replies. */
export interface GrantedContext {
  readonly id: number;
  readonly name: string;
}

/** Enough for any reply we can cause (a string and some numbers), and too little to exhaust us. */
const REPLY_BYTES_MAX = STRING_BYTES_MAX + 1024;
const REPLIES_MAX = 1024;

/** Asks one option and answers all its replies; the last one is final (ACK or error). */
export function* haggle(option: number, data: Uint8Array): Machine<OptionReply[], Send> {
  yield { send: [optionRequest(option, data)] };
  const replies: OptionReply[] = [];
  while (replies.length < REPLIES_MAX) {
    const header = yield* take(20);
    if (header.readBigUInt64BE(0) !== MAGIC.optionReply)
      throw violation(`an option reply began with 0x${header.toString('hex', 0, 8)}`);
    const [answered, type, length] = [
      header.readUInt32BE(8),
      header.readUInt32BE(12),
      header.readUInt32BE(16),
    ];
    if (answered !== option) throw violation(`asked option ${option}, it answered option ${answered}`);
    if (length > REPLY_BYTES_MAX) throw violation(`a reply to option ${option} claims ${length} bytes`);
    replies.push({ type, data: yield* take(length) });
    if (type === OPTION_REPLY.ack || isOptionError(type)) return replies;
  }
  throw violation(`option ${option} got ${REPLIES_MAX} replies and no final one`);
}

export function optionRequest(option: number, data: Uint8Array): Uint8Array {
  const request = Buffer.alloc(16 + data.length);
  request.writeBigUInt64BE(MAGIC.option, 0);
  request.writeUInt32BE(option, 8);
  request.writeUInt32BE(data.length, 12);
  request.set(data, 16);
  return request;
}

/** True when the server will answer in chunks from the start of transmission. */
export function* askStructuredReplies(): Machine<boolean, Send> {
  const final = finalOf(yield* haggle(OPTION.structuredReply, new Uint8Array(0)));
  throwIfUnwelcome(final);
  return final.type === OPTION_REPLY.ack;
}

/**
 * Asks for the contexts by their exact names; the server grants those it has. Only after structured replies.
 * An error means none: whatever is wrong with the export shows when it is chosen.
 */
export function* askMetaContexts(
  exportName: string,
  names: readonly string[],
): Machine<GrantedContext[], Send> {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(names.length);
  const question = Buffer.concat([lengthAndText(exportName), count, ...names.map(lengthAndText)]);
  const replies = yield* haggle(OPTION.setMetaContext, question);
  const final = finalOf(replies);
  throwIfUnwelcome(final);
  if (final.type !== OPTION_REPLY.ack) return [];

  const granted = new Map<number, GrantedContext>();
  for (const { data } of replies.filter(({ type }) => type === OPTION_REPLY.metaContext)) {
    if (data.length < 5) throw violation(`a metadata context was granted in ${data.length} bytes`);
    const id = data.readUInt32BE(0);
    if (granted.has(id)) throw violation(`the metadata context id ${id} was granted twice`);
    granted.set(id, { id, name: text(data.subarray(4)) });
  }
  return [...granted.values()];
}

/** "String" of many options: 32 bits of length, then UTF-8. */
export function lengthAndText(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

export function finalOf(replies: readonly OptionReply[]): OptionReply {
  const final = replies.at(-1);
  if (final === undefined) throw violation('an option had no reply');
  return final;
}

/** Two errors end the haggling whatever was asked: the server wants TLS, or wants us gone. */
export function throwIfUnwelcome(final: OptionReply): void {
  const said = final.data.length === 0 ? '' : ` (${text(final.data)})`;
  if (final.type === OPTION_REPLY.errorTlsRequired)
    throw new Fault(`The server insists on TLS, which is not spoken here${said}`, {
      permanent: true,
      code: 'TlsRequired',
    });
  if (final.type === OPTION_REPLY.errorShutdown)
    throw new Fault(`The server is shutting down${said}`, { code: 'ESHUTDOWN' });
}
