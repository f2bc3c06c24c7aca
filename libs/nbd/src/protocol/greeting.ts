/**
 * The first bytes of a connection. Reached as soon as the socket is connected; the server speaks first.
 * Source: doc/proto.md, sections "Oldstyle negotiation", "Newstyle negotiation", "Handshake flags".
 * Leads to option haggling (fixed newstyle), to EXPORT_NAME alone (newstyle), or straight to transmission (oldstyle).
 */
import { safeNumber, violation } from './faults.ts';
import { type Machine, type Send, take } from './machine.ts';
import { HANDSHAKE_FLAG, MAGIC } from './values.ts';

export type Greeting =
  /** The server has one export and has told us all about it. */
  | { readonly style: 'oldstyle'; readonly sizeBytes: number; readonly flags: number }
  /** `fixed`: options may be asked for. `noZeroes`: EXPORT_NAME is answered without its 124 bytes of padding. */
  | { readonly style: 'newstyle'; readonly fixed: boolean; readonly noZeroes: boolean };

export function* greet(): Machine<Greeting, Send> {
  const magics = yield* take(16);
  if (magics.readBigUInt64BE(0) !== MAGIC.greeting)
    throw violation(`it greeted with 0x${magics.toString('hex', 0, 8)}; is this an NBD server?`);

  switch (magics.readBigUInt64BE(8)) {
    case MAGIC.option: {
      const offered = (yield* take(2)).readUInt16BE(0);
      // Flags that this client does not know are not sent back, and so mean nothing.
      const flags = offered & (HANDSHAKE_FLAG.fixedNewstyle | HANDSHAKE_FLAG.noZeroes);
      const answer = Buffer.alloc(4);
      answer.writeUInt32BE(flags);
      yield { send: [answer] };
      return {
        style: 'newstyle',
        fixed: (flags & HANDSHAKE_FLAG.fixedNewstyle) !== 0,
        noZeroes: (flags & HANDSHAKE_FLAG.noZeroes) !== 0,
      };
    }
    case MAGIC.oldstyle: {
      const rest = yield* take(8 + 4 + 124);
      return {
        style: 'oldstyle',
        sizeBytes: safeNumber(rest.readBigUInt64BE(0), 'the size of the export'),
        // Handshake flags in the high half, transmission flags in the low one.
        flags: rest.readUInt16BE(10),
      };
    }
    default:
      throw violation(`its second magic number was 0x${magics.toString('hex', 8, 16)}`);
  }
}
