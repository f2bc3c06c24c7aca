/**
 * What the server says in transmission: replies in any order, in chunks in any order. Reached after the handshake, and
 * never left: only the end of the connection ends it. Source: doc/proto.md, sections "Simple reply message",
 * "Structured reply chunk message", "Structured reply flags", "Structured reply types".
 */
import { safeNumber, text, violation } from './faults.ts';
import { type Fill, type Machine, take } from './machine.ts';
import { requestLine } from './requests.ts';
import { PendingRead, PendingStatus, type StatusRun, type Transaction } from './transactions.ts';
import { CHUNK, CHUNK_FLAG, isErrorChunk, MAGIC, STRING_BYTES_MAX } from './values.ts';

/** The reply of this request is complete; `transaction.error` says how it ended. Its handle is free. */
export interface Settled {
  readonly settled: Transaction;
  readonly handle: number;
}

/** Bytes for this request have begun to arrive: it is alive. */
export interface Progress {
  readonly progress: Transaction;
}

export interface PendingRequests {
  get(handle: number): Transaction | undefined;
}

/** 8 MiB of descriptors: a million runs in one answer, more than known servers send. */
const STATUS_PAYLOAD_MAX = 4 + 8 * 1024 * 1024;
const ERROR_PAYLOAD_MAX = 6 + 8 + STRING_BYTES_MAX;
const SIMPLE_BYTES = 16;
const STRUCTURED_BYTES = 20;

/** `structured`: STRUCTURED_REPLY was agreed, so chunks may come, and data comes in no other way. */
export function* replies(pending: PendingRequests, structured: boolean): Machine<never, Settled | Progress> {
  // One header buffer for the whole connection; both kinds agree in their first 4 bytes only.
  const header = Buffer.alloc(STRUCTURED_BYTES);
  const simplePart: Fill = { fill: header.subarray(0, SIMPLE_BYTES) };
  const structuredRest: Fill = { fill: header.subarray(SIMPLE_BYTES) };

  for (;;) {
    yield simplePart;
    const magic = header.readUInt32BE(0);
    if (magic === MAGIC.simpleReply) {
      const { handle, transaction } = pendingOf(pending, header, 8);
      yield { progress: transaction };
      yield* simpleReply(transaction, header.readUInt32BE(4), structured);
      yield settle(transaction, handle);
    } else if (magic === MAGIC.structuredReply && structured) {
      yield structuredRest;
      const { handle, transaction } = pendingOf(pending, header, 8);
      yield { progress: transaction };
      const isLast = (header.readUInt16BE(4) & CHUNK_FLAG.done) !== 0;
      const [type, length] = [header.readUInt16BE(6), header.readUInt32BE(16)];
      yield* chunk(transaction, type, length, isLast);
      if (isLast) yield settle(transaction, handle);
    } else {
      throw violation(`a reply began with 0x${header.toString('hex', 0, 4)}`);
    }
  }
}

function pendingOf(
  pending: PendingRequests,
  header: Buffer,
  at: number,
): { handle: number; transaction: Transaction } {
  const handle = header.readUInt32BE(at + 4);
  const transaction = header.readUInt32BE(at) === 0 ? pending.get(handle) : undefined;
  if (transaction === undefined)
    throw violation(`a reply for handle 0x${header.toString('hex', at, at + 8)}, which no request waits for`);
  return { handle, transaction };
}

function settle(transaction: Transaction, handle: number): Settled {
  if (transaction.error === undefined) transaction.checkSuccess();
  return { settled: transaction, handle };
}

function* simpleReply(transaction: Transaction, error: number, structured: boolean): Machine<void> {
  const line = requestLine(transaction.request);
  if (transaction instanceof PendingRead && structured)
    throw violation(`a simple reply to ${line}, where chunks were agreed on`);
  if (error !== 0) transaction.reportError(error, '');
  else if (transaction instanceof PendingRead)
    yield { fill: transaction.placeFor(transaction.request.offset, transaction.request.length) };
}

function* chunk(transaction: Transaction, type: number, length: number, isLast: boolean): Machine<void> {
  const wrong = (what: string) => violation(`${what} in the reply to ${requestLine(transaction.request)}`);
  if (isErrorChunk(type)) {
    yield* errorChunk(transaction, type, length);
    return;
  }
  switch (type) {
    case CHUNK.none:
      if (length !== 0 || !isLast) throw wrong(`an empty chunk of ${length} bytes, or before the end,`);
      return;
    case CHUNK.offsetData: {
      if (!(transaction instanceof PendingRead)) throw wrong('data');
      if (length <= 8 || length - 8 > transaction.request.length)
        throw wrong(`a data chunk of ${length} bytes`);
      const offset = safeNumber((yield* take(8)).readBigUInt64BE(0), 'the offset of a data chunk');
      yield { fill: transaction.placeFor(offset, length - 8) };
      return;
    }
    case CHUNK.offsetHole: {
      if (!(transaction instanceof PendingRead)) throw wrong('a hole');
      if (length !== 12) throw wrong(`a hole described in ${length} bytes`);
      const hole = yield* take(12);
      const offset = safeNumber(hole.readBigUInt64BE(0), 'the offset of a hole');
      transaction.placeFor(offset, hole.readUInt32BE(8)).fill(0);
      return;
    }
    case CHUNK.blockStatus:
      if (!(transaction instanceof PendingStatus)) throw wrong('a block status');
      if (length < 12 || length % 8 !== 4 || length > STATUS_PAYLOAD_MAX)
        throw wrong(`a block status of ${length} bytes`);
      describe(transaction, yield* take(length));
      return;
    default:
      throw wrong(`a chunk of the unknown type ${type}`);
  }
}

function describe(transaction: PendingStatus, payload: Buffer): void {
  const runs: StatusRun[] = [];
  for (let at = 4; at < payload.length; at += 8)
    runs.push({ length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) });
  transaction.describe(payload.readUInt32BE(0), runs);
}

/** "All error chunk types begin with the same fields": so an unknown one is still an error of this request alone. */
function* errorChunk(transaction: Transaction, type: number, length: number): Machine<void> {
  const line = requestLine(transaction.request);
  if (length < 6 || length > ERROR_PAYLOAD_MAX)
    throw violation(`an error of ${length} bytes in the reply to ${line}`);
  const payload = yield* take(length);
  const value = payload.readUInt32BE(0);
  const messageEnd = 6 + payload.readUInt16BE(4);
  const hasOffset = type === CHUNK.errorOffset;
  if (messageEnd + (hasOffset ? 8 : 0) > length)
    throw violation(`an error text longer than its chunk in the reply to ${line}`);
  const message = text(payload.subarray(6, messageEnd));
  if (hasOffset) {
    const offset = safeNumber(payload.readBigUInt64BE(messageEnd), 'the offset of an error');
    transaction.reportError(value, message, offset);
  } else transaction.reportError(value, message);
}
