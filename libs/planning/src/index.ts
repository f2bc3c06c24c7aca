export { explainPlan } from './explain-plan.ts';
export { type PlanRequest, type PoolView, plan } from './plan.ts';
