export { type AdoptedRepository, adoptedRepository } from './adopted-repository.ts';
export {
  type CommandService,
  commandService,
  type Decision,
  type Executed,
  type Loaded,
  untilAppended,
} from './command.ts';
export * from './event-store.ts';
export { eventsOfRun } from './events-of-run.ts';
export { type LeaseHold, LeaseWatch } from './lease-watch.ts';
export { logTime } from './log-clock.ts';
export { readLogFile, storedLog, writeLogFile } from './log-file.ts';
export { migrate } from './migrate.ts';
export { connectEventStore } from './postgres-event-store.ts';
export { roleOf, services, serviceUrl } from './roles.ts';
export { openSealKey, type SealKey } from './seal/key.ts';
export { type Sealed, sealLog } from './seal/seal-log.ts';
export { type LogVerdict, type NotedSeal, verifyLog } from './seal/verify-log.ts';
export { type TailOptions, tail } from './tail.ts';
