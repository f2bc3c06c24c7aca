/** Wires the planner: a triggered backup is inspected and planned. */
import {
  ApplianceDirectorySetting,
  HostsSetting,
  ScratchDirectorySetting,
  StateDirectorySetting,
} from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import { runService, whole } from '@backhaul/service';
import { z } from 'zod';
import { hostsOf } from './adapters/hosts.ts';
import { poolViewsFrom } from './adapters/pool-views.ts';
import { inspectVm } from './inspect-vm.ts';
import { limited } from './limited.ts';
import { backupPlanner } from './plan-backup.ts';

/** Plans under way at a time, those that wait for their inspection included: most of a plan is waiting for the log. */
const PLANS_AT_ONCE = 32;

await runService({
  name: 'planner',
  configuration: z.object({
    BACKHAUL_HOSTS: HostsSetting,
    BACKHAUL_STATE_DIRECTORY: StateDirectorySetting,
    BACKHAUL_APPLIANCE_DIRECTORY: ApplianceDirectorySetting,
    BACKHAUL_SCRATCH_DIRECTORY: ScratchDirectorySetting,
    /** Inspections at a time: each starts processes at its host. */
    BACKHAUL_INSPECTIONS: whole(1, 64, 4).default(4),
  }),
  async start({ configuration, store, messaging, log, onStop }) {
    const hosts = hostsOf(configuration.BACKHAUL_HOSTS, {
      stateDirectory: configuration.BACKHAUL_STATE_DIRECTORY,
      applianceDirectory: configuration.BACKHAUL_APPLIANCE_DIRECTORY,
      scratchDirectory: configuration.BACKHAUL_SCRATCH_DIRECTORY,
    });
    onStop('hosts', () => hosts.close());
    const atATime = limited(configuration.BACKHAUL_INSPECTIONS);
    await messaging.consumeWork({
      purpose: 'plans',
      types: ['BackupTriggered'],
      concurrency: PLANS_AT_ONCE,
      handle: backupPlanner(store, {
        inspect: (triggered, signal) =>
          atATime(() =>
            inspectVm(hosts.named, triggered, signal, (error, attempt) => {
              const { backupId, hostId, vmId } = triggered;
              log.warn({ backupId, hostId, vmId, attempt, error: describeError(error) }, 'inspection failed');
            }),
          ),
        poolOf: poolViewsFrom(store),
      }),
    });
  },
});
