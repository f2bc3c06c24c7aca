export {
  type BackhaulClient,
  backhaulClient,
  type Deployment,
  type ListQuery,
  type NewBackup,
  type NewPolicy,
  type NewRecovery,
  type NewRedrive,
  type NewSchedule,
  type Page,
} from './client.ts';
export type { Run } from './find-run.ts';
export type { FollowOptions } from './follow.ts';
export { ProblemFault } from './http.ts';
export {
  orderRun,
  requestBackup,
  requestRecovery,
  type UpstreamRecovery,
  type UpstreamRequest,
} from './upstream.ts';
