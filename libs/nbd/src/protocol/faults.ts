/**
 * What a server can do to us, as Faults. Source: doc/proto.md, section "Error values".
 * An error that the server reports fails one request; a violation of the protocol ends the connection, because after
 * it no byte that follows can be trusted.
 */
import { Fault } from '@backhaul/kernel';
import { ERROR_VALUE } from './values.ts';

export const VIOLATION = 'NbdProtocolViolation';

/** The server said something that the protocol does not allow here. Trying again would meet the same server. */
export const violation = (what: string): Fault =>
  new Fault(`The server broke the NBD protocol: ${what}`, { permanent: true, code: VIOLATION });

const ERROR_NAMES = new Map<number, string>(
  Object.entries(ERROR_VALUE).map(([name, value]) => [value, name]),
);

/** The same request meets the same answer; EIO, ENOMEM, ENOSPC and ESHUTDOWN may pass, or not be met elsewhere. */
const LASTING = new Set(['EPERM', 'EINVAL', 'EOVERFLOW', 'ENOTSUP']);

/** An error that the server reports for one request. `text` is its own explanation, often empty. */
export function reportedError(value: number, text: string, offset?: number): Fault {
  // The values are a closed set; one outside of it tells no more than that the request was not liked.
  const code = ERROR_NAMES.get(value) ?? 'EINVAL';
  const name = ERROR_NAMES.has(value) ? code : `error ${value}`;
  const where = offset === undefined ? '' : ` at offset ${offset}`;
  return new Fault(`The server answered ${name}${where}${text === '' ? '' : ` (${text})`}`, {
    permanent: LASTING.has(code),
    code,
  });
}

/** A 64-bit number of the wire as a number. Beyond 2^53 it would silently lose its last bits. */
export function safeNumber(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw violation(`${what} is ${value}, more than any disk can hold`);
  return Number(value);
}

/** "Conventions": strings are UTF-8. A server's text goes into logs, so what is not text is replaced. */
export const text = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8').replaceAll('\0', '');
