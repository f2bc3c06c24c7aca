export { connectMessaging, type MessagingOptions } from './connect-messaging.ts';
export { type DeadLetter, findDeadLetter } from './dead-letters.ts';
export { type Exclusive, runExclusively } from './exclusive.ts';
export { type Log, silentLog } from './log.ts';
export type {
  Consumption,
  Health,
  IncomingRequest,
  Messaging,
  Once,
  Requester,
  WorkEnd,
} from './messaging.ts';
export type { Observer, Occurrence } from './occurrence.ts';
export { connectRequester } from './requester.ts';
