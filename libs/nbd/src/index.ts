export {
  type NbdClient,
  type NbdConnectOptions,
  STATE_DIRTY,
  STATE_HOLE,
  STATE_ZERO,
  type StatusExtent,
} from './client.ts';
export { connectNbd } from './connect.ts';
export { type Endpoint, type NbdLocation, parseUri } from './protocol/uri.ts';
