/**
 * What a client says in transmission: requests, and behind each write its data. Reached when an export was chosen; ends with DISC.
 * Source: doc/proto.md, sections "Request message", "Request types", "Terminating the transmission phase". What a request may ask is judged
 * in `rules.ts`; here only what is needed to find the next one.
 */
import type { Machine } from '../protocol/machine.ts';
import type { Request } from '../protocol/requests.ts';
import { REQUEST_BYTES } from '../protocol/requests.ts';
import { COMMAND, MAGIC } from '../protocol/values.ts';
import { clientViolation } from './faults.ts';

/** One request, whole. */
export interface Asked {
  readonly asked: Request;
  /** Comes back in the reply, and means nothing to the server. */
  readonly cookie: bigint;
  /** The data of a write; absent where there was more of it than may be, which was skipped. */
  readonly payload?: Uint8Array;
}

/** A write beyond the limit is read past and refused in words, up to here; more of it is the end of the connection. */
const SKIPPED_BYTES_MAX = 64 * 1024 * 1024;
const SCRAP_BYTES = 64 * 1024;

export function* requests(maximumPayload: number): Machine<void, Asked> {
  const header = Buffer.alloc(REQUEST_BYTES);
  for (;;) {
    yield { fill: header, mayRest: true };
    if (header.readUInt32BE(0) !== MAGIC.request)
      throw clientViolation(`a request began with 0x${header.toString('hex', 0, 4)}`);
    const asked: Request = {
      flags: header.readUInt16BE(4),
      command: header.readUInt16BE(6),
      // Beyond 2^53 the number is not exact, and beyond any disk all the same.
      offset: Number(header.readBigUInt64BE(16)),
      length: header.readUInt32BE(24),
    };
    const cookie = header.readBigUInt64BE(8);
    if (asked.command === COMMAND.disconnect) return;
    if (asked.command !== COMMAND.write) {
      yield { asked, cookie };
    } else if (asked.length > maximumPayload) {
      if (asked.length > SKIPPED_BYTES_MAX) throw clientViolation(`a write of ${asked.length} bytes`);
      const scrap = Buffer.allocUnsafe(SCRAP_BYTES);
      for (let left = asked.length; left > 0; left -= Math.min(left, SCRAP_BYTES))
        yield { fill: scrap.subarray(0, left) };
      yield { asked, cookie };
    } else {
      const payload = Buffer.allocUnsafeSlow(asked.length);
      if (asked.length > 0) yield { fill: payload };
      yield { asked, cookie, payload };
    }
  }
}
