export { type Action, actionKey } from './actions.ts';
export { carryOut, type PoolNews, poolNews, react, subjectOf } from './commands.ts';
export { confirmsSomething, deactivated } from './confirmation.ts';
export { findDrift, type Settled, settledIn } from './drift.ts';
export { givenUp, triesOf } from './given-up.ts';
export { decisionsNow, dueActions } from './next-steps.ts';
export { type Occasion, occasionText, readOccasion } from './occasion.ts';
export * from './pool.ts';
export { type HealthWatch, healthChange, healthChanges } from './proxy-health.ts';
