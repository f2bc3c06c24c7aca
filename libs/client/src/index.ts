export {
  type BackhaulClient,
  backhaulClient,
  type ListQuery,
  type NewBackup,
  type NewPolicy,
  type NewRedrive,
  type NewSchedule,
  type Page,
} from './client.ts';
export type { FollowOptions } from './follow.ts';
export { ProblemFault } from './http.ts';
export { requestBackup, type UpstreamRequest } from './upstream.ts';
