/**
 * Replies as bytes, in the two dialects. A reply is a list of parts that go out in one go; the bytes of a disk are never copied into it.
 * Source: doc/proto.md, sections "Simple reply message", "Structured reply chunk message", "Structured reply types".
 */
import {
  CHUNK,
  CHUNK_FLAG,
  ERROR_VALUE,
  type ErrorName,
  MAGIC,
  STRING_BYTES_MAX,
} from '../protocol/values.ts';
import type { ReadPiece, Run } from './export.ts';
import { ALLOCATION_ID } from './option-answers.ts';

export type Parts = readonly Uint8Array[];

const ZEROES = new Uint8Array(256 * 1024);
const HOLE_AND_ZERO = 3;

/** In the simple dialect. */
export function simpleReply(
  cookie: bigint,
  error: ErrorName | undefined,
  pieces: readonly ReadPiece[] = [],
): Parts {
  const header = Buffer.allocUnsafe(16);
  header.writeUInt32BE(MAGIC.simpleReply, 0);
  header.writeUInt32BE(error === undefined ? 0 : ERROR_VALUE[error], 4);
  header.writeBigUInt64BE(cookie, 8);
  return [header, ...spelledOut(pieces)];
}

/** A success without data. */
export const emptyChunk = (cookie: bigint): Parts => [chunk(cookie, CHUNK.none, CHUNK_FLAG.done, 0)];

export function errorChunk(cookie: bigint, error: ErrorName, words: string): Parts {
  const text = shortened(words);
  const head = chunk(cookie, CHUNK.error, CHUNK_FLAG.done, 6 + text.length, 6);
  head.writeUInt32BE(ERROR_VALUE[error], 20);
  head.writeUInt16BE(text.length, 24);
  return [head, text];
}

/** Neighbouring bytes travel in one chunk, each hole in one of its own. `isWhole`: one chunk for all of it, as DF asks. */
export function readChunks(
  cookie: bigint,
  offset: number,
  pieces: readonly ReadPiece[],
  isWhole: boolean,
): Parts {
  const parts: Uint8Array[] = [];
  let at = offset;
  for (let first = 0; first < pieces.length; ) {
    let next = first + 1;
    const piece = pieces[first] as ReadPiece;
    const isHole = !(piece instanceof Uint8Array) && (!isWhole || pieces.length === 1);
    while (!isHole && next < pieces.length && (isWhole || pieces[next] instanceof Uint8Array)) next += 1;
    const together = pieces.slice(first, next);
    const length = together.reduce((sum, each) => sum + lengthOf(each), 0);
    const flags = next === pieces.length ? CHUNK_FLAG.done : 0;
    const head = isHole
      ? chunk(cookie, CHUNK.offsetHole, flags, 12, 12)
      : chunk(cookie, CHUNK.offsetData, flags, 8 + length, 8);
    head.writeBigUInt64BE(BigInt(at), 20);
    if (isHole) head.writeUInt32BE(length, 28);
    parts.push(head, ...(isHole ? [] : spelledOut(together)));
    at += length;
    first = next;
  }
  return parts;
}

export function statusChunk(cookie: bigint, runs: readonly Run[]): Parts {
  const bytes = 4 + 8 * runs.length;
  const head = chunk(cookie, CHUNK.blockStatus, CHUNK_FLAG.done, bytes, bytes);
  head.writeUInt32BE(ALLOCATION_ID, 20);
  for (const [i, { length, isHole }] of runs.entries()) {
    head.writeUInt32BE(length, 24 + 8 * i);
    head.writeUInt32BE(isHole ? HOLE_AND_ZERO : 0, 28 + 8 * i);
  }
  return [head];
}

export const lengthOf = (piece: ReadPiece): number =>
  piece instanceof Uint8Array ? piece.length : piece.zeroBytes;

/** The header of a chunk whose payload has `length` bytes, and room for the first `room` of them. */
function chunk(cookie: bigint, type: number, flags: number, length: number, room = 0): Buffer {
  const head = Buffer.allocUnsafe(20 + room);
  head.writeUInt32BE(MAGIC.structuredReply, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeBigUInt64BE(cookie, 8);
  head.writeUInt32BE(length, 16);
  return head;
}

function* spelledOut(pieces: readonly ReadPiece[]): Generator<Uint8Array> {
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) yield piece;
    else
      for (let left = piece.zeroBytes; left > 0; left -= ZEROES.length)
        yield left < ZEROES.length ? ZEROES.subarray(0, left) : ZEROES;
  }
}

/** Cut between characters: half of one would not be UTF-8. */
function shortened(words: string): Buffer {
  const whole = Buffer.from(words, 'utf8');
  if (whole.length <= STRING_BYTES_MAX) return whole;
  let end = STRING_BYTES_MAX;
  while (((whole[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return whole.subarray(0, end);
}
