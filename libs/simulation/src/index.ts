export { readFleet } from './fleet.ts';
export { measures } from './measures.ts';
export { reportPage } from './report-page.ts';
export { type Comparison, type SimulationOptions, simulate, simulated } from './simulate.ts';
