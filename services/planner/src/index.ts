/** The core of the planner, for whoever runs it on a clock and a log of their own. */
export * from './core/backup-plan.ts';
export * from './core/planning.ts';
export * from './core/pool-view.ts';
export * from './core/recovery-plan.ts';
