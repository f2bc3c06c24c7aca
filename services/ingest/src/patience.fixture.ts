import { pino } from 'pino';
import { RepositoryPatience } from './repository-patience.ts';

/** As a service has it, and quicker to look again. */
export const patienceOf = (seconds: number): RepositoryPatience =>
  new RepositoryPatience({
    ...{ log: pino({ level: 'silent' }), seconds },
    ...{ firstDelayMilliseconds: 20, delayMillisecondsMax: 100 },
  });
