/**
 * One client's whole conversation, as a machine: greeting, haggling, requests. It does no I/O, and ends when the client has said goodbye.
 */
import type { Machine, Send } from '../protocol/machine.ts';
import { blockSizeOf, type NbdExport } from './export.ts';
import { greetClient } from './greeting.ts';
import { type Agreement, haggle } from './haggling.ts';
import { type Asked, requests } from './requests.ts';

/** The handshake is over. */
export interface Agreed {
  readonly agreed: Agreement;
}

export function* session(exports: readonly NbdExport[]): Machine<void, Send | Agreed | Asked> {
  const agreed = yield* haggle(exports, yield* greetClient());
  if (agreed === undefined) return;
  yield { agreed };
  yield* requests(blockSizeOf(agreed.served).maximumPayload);
}
