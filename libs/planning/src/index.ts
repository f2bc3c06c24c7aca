export { type BackupPlanEvent, backupPlan, type TriggeredBackup } from './backup-plan.ts';
export { bytesIn } from './density.ts';
export { explainPlan } from './explain-plan.ts';
export { explainRecoveryPlan } from './explain-recovery-plan.ts';
export { type PlanRequest, type PoolView, plan } from './plan.ts';
export { planRecovery } from './plan-recovery.ts';
export { emptyView, evolveView } from './pool-view.ts';
export { type RecoveryPlanEvent, recoveryPlan, type TriggeredRecovery } from './recovery-plan.ts';
export { type KindOfPlan, type PlanCommand, planningOf, planStream } from './run-plan.ts';
export {
  differencesOf,
  type ShadowPlan,
  shadowLine,
  shadowPlanOf,
  summaryLine,
  summaryOf,
} from './shadow-plan.ts';
