/** The cores of the trigger, for whoever runs them on a clock and a log of their own. */
export * from './core/answers.ts';
export * from './core/dead-letter.ts';
export * from './core/policy.ts';
export * from './core/reactions.ts';
export * from './core/recoverable.ts';
export * from './core/run.ts';
export * from './core/schedule.ts';
export * from './core/turns.ts';
export * from './core/vm.ts';
export * from './core/wish.ts';
