export { formatBytes, GiB, KiB, MiB, parseBytes, TiB } from './bytes.ts';
export { copyBytes } from './copy-bytes.ts';
export { eventually, withDeadline } from './deadline.ts';
export { type Decider, fold } from './decider.ts';
export {
  cutAt,
  type Extent,
  extentEnd,
  intersection,
  normalised,
  subtraction,
  totalLength,
} from './extent.ts';
export { describeError, Fault, hasCode, isPermanent } from './fault.ts';
export { derivedId } from './identity.ts';
export { invariant, unreachable } from './invariant.ts';
export {
  type Ipv4Range,
  ipv4Network,
  ipv4Number,
  ipv4Overlap,
  ipv4Text,
  parseIpv4Network,
} from './ipv4.ts';
export { type NatsAddress, natsAddress, withoutNatsPassword } from './nats-url.ts';
export { type Refusal, refusalLine } from './refusal.ts';
export { ok, type Result, refuse } from './result.ts';
export { listed, shortened } from './wording.ts';
