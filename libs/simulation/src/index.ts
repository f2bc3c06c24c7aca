export { Fleet, readFleet } from './fleet.ts';
export { type Comparison, type Progress, type SimulationOptions, simulate, simulated } from './simulate.ts';
export type { MissedWindow, PolicyOutcome } from './tally.ts';
