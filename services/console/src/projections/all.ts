/**
 * Every projection there is. They advance together, under one checkpoint, so an answer that joins two of them shows one
 * moment of the log.
 */
import type { AnyProjection } from '../projection.ts';
import { backups } from './backups.ts';
import { childJobs } from './child-jobs.ts';
import { dataStreams } from './data-streams.ts';
import { deploymentPolicy } from './deployment-policy.ts';
import { hostPolicies } from './host-policies.ts';
import { hosts } from './hosts.ts';
import { obligations } from './obligations.ts';
import { policies } from './policies.ts';
import { proxies } from './proxies.ts';
import { recoveries } from './recoveries.ts';
import { redrives } from './redrives.ts';
import { schedules } from './schedules.ts';
import { shadowPlans } from './shadow-plans.ts';
import { vms } from './vms.ts';

export const projections: readonly AnyProjection[] = [
  vms,
  backups,
  childJobs,
  recoveries,
  dataStreams,
  hosts,
  proxies,
  obligations,
  schedules,
  policies,
  hostPolicies,
  deploymentPolicy,
  shadowPlans,
  redrives,
];

/**
 * Raise this when a fold comes to mean something else: the tables are then rebuilt from position zero beside the ones in
 * use. A test holds the rows of a recorded story against it, so that it is not forgotten.
 */
export const PROJECTIONS_VERSION = 9;
