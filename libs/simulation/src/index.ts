export { confirmationOf } from './confirmations.ts';
export { describedSource } from './described-source.ts';
export { readFleet } from './fleet.ts';
export { History, readQuestion } from './history.ts';
export { measures } from './measures.ts';
export { jobCompleted } from './open-backup.ts';
export { reportPage } from './report-page.ts';
export { type Comparison, simulate, simulated, simulatedStory } from './simulate.ts';
export type { Source } from './source.ts';
