export { confirmationOf } from './confirmations.ts';
export { readFleet } from './fleet.ts';
export { measures } from './measures.ts';
export { jobCompleted } from './open-backup.ts';
export { reportPage } from './report-page.ts';
export { type Comparison, type SimulationOptions, simulate, simulated } from './simulate.ts';
