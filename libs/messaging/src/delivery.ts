import type { Headers } from './cloud-event.ts';
import type { MessageIdentity } from './identity.ts';

/** One message on its way to a handler, whatever it is about. */
export interface Delivery {
  readonly subject: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly identity: MessageIdentity;
  /** How many times it was delivered, this time included. */
  readonly attempt: number;
}
