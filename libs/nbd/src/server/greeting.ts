/**
 * The first bytes of a connection, from the server's side: fixed newstyle, and nothing else. Reached as soon as a client is connected.
 * Source: doc/proto.md, sections "Newstyle negotiation", "Handshake flags", "Client flags". Leads to `haggling.ts`.
 */
import { type Machine, type Send, take } from '../protocol/machine.ts';
import { HANDSHAKE_FLAG, MAGIC } from '../protocol/values.ts';
import { clientViolation } from './faults.ts';

const OFFERED = HANDSHAKE_FLAG.fixedNewstyle | HANDSHAKE_FLAG.noZeroes;

export interface Greeted {
  /** Without it the client may only name an export: it does not know that options can be refused. */
  readonly fixed: boolean;
  /** EXPORT_NAME is answered without its 124 bytes of padding. */
  readonly noZeroes: boolean;
}

export function* greetClient(): Machine<Greeted, Send> {
  const greeting = Buffer.alloc(18);
  greeting.writeBigUInt64BE(MAGIC.greeting, 0);
  greeting.writeBigUInt64BE(MAGIC.option, 8);
  greeting.writeUInt16BE(OFFERED, 16);
  yield { send: [greeting] };
  const flags = (yield* take(4)).readUInt32BE(0);
  // "If the server does not recognise a flag that the client sets, it MUST close": it would change what follows.
  if ((flags & ~OFFERED) !== 0) throw clientViolation(`it set the client flags 0x${flags.toString(16)}`);
  return {
    fixed: (flags & HANDSHAKE_FLAG.fixedNewstyle) !== 0,
    noZeroes: (flags & HANDSHAKE_FLAG.noZeroes) !== 0,
  };
}
