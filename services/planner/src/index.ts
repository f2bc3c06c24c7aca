/** The core of the planner, for whoever runs it on a clock and a log of their own. */
export * from './core/planning.ts';
export * from './core/pool-view.ts';
