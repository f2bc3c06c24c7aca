/** Wires the planner: a triggered backup or recovery is inspected and planned. */
import {
  ApplianceDirectorySetting,
  HostsSetting,
  RepositorySetting,
  ScratchDirectorySetting,
  StateDirectorySetting,
} from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import { backupPlan, recoveryPlan } from '@backhaul/planning';
import { enoughFileThreads, runService, whole } from '@backhaul/service';
import { z } from 'zod';
import { hostsOf } from './adapters/hosts.ts';
import { repositoryAt } from './adapters/lazy-repository.ts';
import { poolViewsFrom } from './adapters/pool-views.ts';
import { ShadowPoliciesSetting, shadowPoliciesFrom } from './adapters/shadow-policies.ts';
import { dueRunIn, runStreamOf, whenDue } from './due-runs.ts';
import { inspectRecovery } from './inspect-recovery.ts';
import { inspectVm } from './inspect-vm.ts';
import { limited } from './limited.ts';
import { usualPatience } from './patience.ts';
import { planner } from './plan-run.ts';

/** Plans under way at a time, those that wait for their inspection included: most of a plan is waiting for the log. */
const PLANS_AT_ONCE = 32;

enoughFileThreads();
await runService({
  name: 'planner',
  configuration: z.object({
    BACKHAUL_HOSTS: HostsSetting,
    BACKHAUL_STATE_DIRECTORY: StateDirectorySetting,
    BACKHAUL_APPLIANCE_DIRECTORY: ApplianceDirectorySetting,
    BACKHAUL_SCRATCH_DIRECTORY: ScratchDirectorySetting,
    BACKHAUL_REPOSITORY: RepositorySetting,
    /** Inspections at a time: each starts processes at its host. */
    BACKHAUL_INSPECTIONS: whole(1, 64, 4).default(4),
    /** Policies to plan with beside others, for nobody to act on: `default=candidate`. */
    BACKHAUL_SHADOW_POLICIES: ShadowPoliciesSetting,
  }),
  async start({ configuration, store, messaging, log, onStop }) {
    const hosts = hostsOf(configuration.BACKHAUL_HOSTS, {
      stateDirectory: configuration.BACKHAUL_STATE_DIRECTORY,
      applianceDirectory: configuration.BACKHAUL_APPLIANCE_DIRECTORY,
      scratchDirectory: configuration.BACKHAUL_SCRATCH_DIRECTORY,
    });
    onStop('hosts', () => hosts.close());
    const repository = repositoryAt(configuration.BACKHAUL_REPOSITORY);
    onStop('repository', () => repository.close());
    const atATime = limited(configuration.BACKHAUL_INSPECTIONS);
    const poolOf = poolViewsFrom(store);
    const shadowsOf = shadowPoliciesFrom(store, configuration.BACKHAUL_SHADOW_POLICIES, (policyId) =>
      log.warn({ policyId }, 'a shadow policy is not defined yet: nothing is planned with it'),
    );
    const failed = (about: object) => (error: unknown, attempt: number) =>
      log.warn({ ...about, attempt, error: describeError(error) }, 'inspection failed');
    await messaging.consumeWork({
      purpose: 'plans',
      types: ['BackupTriggered', 'BackupResumed'],
      concurrency: PLANS_AT_ONCE,
      ...whenDue(
        store,
        'BackupTriggered',
        planner(store, backupPlan, {
          inspect(triggered, signal) {
            const { backupId, hostId, vmId } = triggered;
            const onFault = failed({ backupId, hostId, vmId });
            const onProgress = (doing: string) => log.info({ backupId, hostId, vmId }, `${doing} goes on`);
            return atATime(() =>
              inspectVm(hosts.named, triggered, signal, onFault, usualPatience, onProgress),
            );
          },
          poolOf,
          shadowsOf,
          isDue: async (of) => (await dueRunIn(store, 'BackupTriggered', runStreamOf(of))).isDue,
        }),
      ),
    });
    const places = { repository: repository.open, hostNamed: hosts.named };
    await messaging.consumeWork({
      purpose: 'recovery-plans',
      types: ['RecoveryTriggered', 'RecoveryResumed'],
      concurrency: PLANS_AT_ONCE,
      ...whenDue(
        store,
        'RecoveryTriggered',
        planner(store, recoveryPlan, {
          inspect(triggered, signal) {
            const { recoveryId, backupId, hostId, vmId } = triggered;
            const onFault = failed({ recoveryId, backupId, hostId, vmId });
            return atATime(() => inspectRecovery(places, triggered, signal, onFault));
          },
          poolOf,
          shadowsOf,
          isDue: async (of) => (await dueRunIn(store, 'RecoveryTriggered', runStreamOf(of))).isDue,
        }),
      ),
    });
  },
});
