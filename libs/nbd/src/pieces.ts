/**
 * Cutting what a caller wants into requests that the server takes: not longer than its largest payload, not across multiples
 * of our request size, aligned to its smallest block. Pure; `connection.ts` sends the pieces as its window allows.
 * Source: doc/proto.md, section "Block size constraints".
 */
import { cutAt, Fault, intersection } from '@backhaul/kernel';
import { PendingEffect, PendingRead, type Transaction } from './protocol/transactions.ts';
import { COMMAND } from './protocol/values.ts';

export interface Piece {
  readonly transaction: Transaction;
  /** The data of a write. */
  readonly payload?: Uint8Array;
  /** To be called when the reply has come without an error. */
  readonly succeeded?: () => void;
}

export interface Grid {
  readonly sizeBytes: number;
  /** The server's smallest block. */
  readonly minimum: number;
  /** The longest request; a multiple of `minimum`. */
  readonly requestBytes: number;
}

/** Refuses, as a permanent Fault, a range that is not inside the export. */
export function assertInside(grid: Grid, offset: number, length: number): void {
  const isPosition = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  if (!isPosition(offset) || !isPosition(length) || offset + length > grid.sizeBytes)
    throw new Fault(
      `${length} bytes at offset ${offset} are not inside an export of ${grid.sizeBytes} bytes`,
      { permanent: true, code: 'OutOfRange' },
    );
}

/**
 * Edges that lie inside a block are read whole, into a buffer of their own, and copied out when they are there. The end of the
 * export is as far as rounding goes: a disk need not be a whole number of blocks.
 */
export function* readPieces(
  grid: Grid,
  offset: number,
  length: number,
  target: Uint8Array,
): Generator<Piece> {
  const wanted = { offset, length };
  const start = offset - (offset % grid.minimum);
  const end = Math.min(Math.ceil((offset + length) / grid.minimum) * grid.minimum, grid.sizeBytes);
  for (const cut of cutAt({ offset: start, length: end - start }, grid.requestBytes)) {
    const request = { command: COMMAND.read, flags: 0, ...cut };
    const inner = intersection(cut, wanted);
    // Cannot be: rounding adds less than a block, and no cut is smaller than one.
    if (inner === undefined) continue;
    const place = target.subarray(inner.offset - offset, inner.offset - offset + inner.length);
    if (inner.length === cut.length) {
      yield { transaction: new PendingRead(request, place) };
    } else {
      const bounce = new Uint8Array(cut.length);
      const from = inner.offset - cut.offset;
      yield {
        transaction: new PendingRead(request, bounce),
        succeeded: () => place.set(bounce.subarray(from, from + inner.length)),
      };
    }
  }
}

export function* writePieces(grid: Grid, offset: number, data: Uint8Array, flags: number): Generator<Piece> {
  for (const cut of cutAt({ offset, length: data.length }, grid.requestBytes))
    yield {
      transaction: new PendingEffect({ command: COMMAND.write, flags, ...cut }),
      payload: data.subarray(cut.offset - offset, cut.offset - offset + cut.length),
    };
}

/** For servers without WRITE_ZEROES: the zeroes travel. */
export function* writtenZeroPieces(grid: Grid, offset: number, length: number): Generator<Piece> {
  const zeroes = new Uint8Array(Math.min(length, grid.requestBytes));
  for (const cut of cutAt({ offset, length }, grid.requestBytes))
    yield {
      transaction: new PendingEffect({ command: COMMAND.write, flags: 0, ...cut }),
      payload: zeroes.subarray(0, cut.length),
    };
}

/**
 * These carry no payload, so the payload limit does not bind them; but a server may have to write the zeroes
 * after all, and must finish one request within the time-out.
 */
const EFFECT_BYTES = 64 * 1024 * 1024;

export function* effectPieces(
  command: number,
  flags: number,
  offset: number,
  length: number,
): Generator<Piece> {
  for (const cut of cutAt({ offset, length }, EFFECT_BYTES))
    yield { transaction: new PendingEffect({ command, flags, ...cut }) };
}

/**
 * A write cannot be rounded out: the bytes around it would be read and written back, over whatever another
 * client wrote in between. So it must fit, except that it may end where the export ends.
 */
export function assertAligned(grid: Grid, offset: number, length: number): void {
  const end = offset + length;
  if (offset % grid.minimum !== 0 || (end % grid.minimum !== 0 && end !== grid.sizeBytes))
    throw new Fault(
      `${length} bytes at offset ${offset} are not on the server's blocks of ${grid.minimum} bytes`,
      { permanent: true, code: 'Unaligned' },
    );
}
