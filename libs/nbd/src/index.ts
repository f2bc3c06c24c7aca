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
export type { NbdExport, ReadPiece, Run, TakeMemory } from './server/export.ts';
export { type NbdServer, type ServeOptions, serveNbd } from './server/serve.ts';
