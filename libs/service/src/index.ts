export type { Health } from '@backhaul/messaging';
export { type ByteRates, byteRates, unlimited } from './byte-rates.ts';
export { type BaseConfiguration, baseConfiguration, whole } from './configuration.ts';
export { enoughFileThreads } from './file-threads.ts';
export { exitCodes } from './process-end.ts';
export { runService } from './run-service.ts';
export type { ServiceContext, ServiceDefinition } from './service.ts';
