export { bytesIn } from './density.ts';
export { explainPlan } from './explain-plan.ts';
export { explainRecoveryPlan } from './explain-recovery-plan.ts';
export { type PlanRequest, type PoolView, plan } from './plan.ts';
export { planRecovery } from './plan-recovery.ts';
