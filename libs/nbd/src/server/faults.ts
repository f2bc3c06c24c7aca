/** What a client can do to a server. It ends that client's connection and nothing else. */
import { Fault } from '@backhaul/kernel';

export const CLIENT_VIOLATION = 'NbdClientViolation';

/** The client said something after which the bytes that follow cannot be understood. */
export const clientViolation = (what: string): Fault =>
  new Fault(`The client broke the NBD protocol: ${what}`, { permanent: true, code: CLIENT_VIOLATION });
