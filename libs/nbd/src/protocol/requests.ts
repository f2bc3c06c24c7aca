/**
 * What the client says in transmission. Reached after the handshake, and the only thing sent until DISC ends it.
 * Source: doc/proto.md, sections "Request message", "Request types", "Terminating the transmission phase".
 */
import { invariant } from '@backhaul/kernel';
import { COMMAND, MAGIC } from './values.ts';

/** One command to the server. Units: bytes. A write's data travels behind it. */
export interface Request {
  readonly command: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
}

export const REQUEST_BYTES = 28;
const TWO_TO_32 = 2 ** 32;

/** Writes the message into `target` at `at`. `handle` comes back in the reply, and must be one that no pending request has. */
export function encodeRequest(target: Buffer, at: number, handle: number, request: Request): void {
  invariant(request.length < TWO_TO_32, 'A request is at most 2^32 - 1 bytes long');
  target.writeUInt32BE(MAGIC.request, at);
  target.writeUInt16BE(request.flags, at + 4);
  target.writeUInt16BE(request.command, at + 6);
  // Handles have 64 bits on the wire; ours use the lower half.
  target.writeUInt32BE(0, at + 8);
  target.writeUInt32BE(handle, at + 12);
  target.writeUInt32BE(Math.floor(request.offset / TWO_TO_32), at + 16);
  target.writeUInt32BE(request.offset % TWO_TO_32, at + 20);
  target.writeUInt32BE(request.length, at + 24);
}

/** Ends the transmission. The server closes the connection and sends no reply. */
export function encodeDisconnect(): Buffer {
  const message = Buffer.alloc(REQUEST_BYTES);
  encodeRequest(message, 0, 0, { command: COMMAND.disconnect, flags: 0, offset: 0, length: 0 });
  return message;
}

const NAMES = new Map<number, string>([
  [COMMAND.read, 'Reading'],
  [COMMAND.write, 'Writing'],
  [COMMAND.flush, 'Flushing'],
  [COMMAND.trim, 'Trimming'],
  [COMMAND.writeZeroes, 'Zeroing'],
  [COMMAND.blockStatus, 'Asking the block status of'],
]);

/** For faults: `Reading 4096 bytes at offset 0`. */
export function requestLine(request: Request): string {
  const name = NAMES.get(request.command) ?? `Command ${request.command} on`;
  return request.command === COMMAND.flush
    ? name
    : `${name} ${request.length} bytes at offset ${request.offset}`;
}
