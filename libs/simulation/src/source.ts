/** What is simulated: some hosts, what each is asked for under a policy, and for how long. A described fleet is one, a recorded log another. */
import type { Workload } from './workload.ts';

export interface Source {
  /** When the clock begins, in milliseconds since the epoch, and for how long requests come due. */
  readonly start: number;
  readonly hours: number;
  readonly hosts: number;
  readonly vms: number;
  /** What people should know before they believe it. */
  readonly notes: readonly string[];
  /** Those that are compared. */
  readonly policies: readonly string[];
  /** Host by host: only one is held at a time. */
  workloads(policy: string): Iterable<Workload>;
}
