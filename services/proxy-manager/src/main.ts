/** The proxy-manager: owns the pool of each configured host. Several may run; each host is worked at by one of them. */
import {
  ApplianceDirectorySetting,
  HostsSetting,
  ScratchDirectorySetting,
  StateDirectorySetting,
} from '@backhaul/contracts';
import { openHost } from '@backhaul/hypervisor';
import { Fault } from '@backhaul/kernel';
import { carryOut, poolNews } from '@backhaul/pool';
import { runService } from '@backhaul/service';
import { z } from 'zod';
import { HostWorker } from './host-worker.ts';
import { Ledger } from './ledger.ts';
import { takeNews } from './take-news.ts';

await runService({
  name: 'proxy-manager',
  configuration: z.object({
    BACKHAUL_HOSTS: HostsSetting,
    BACKHAUL_STATE_DIRECTORY: StateDirectorySetting,
    BACKHAUL_APPLIANCE_DIRECTORY: ApplianceDirectorySetting,
    BACKHAUL_SCRATCH_DIRECTORY: ScratchDirectorySetting,
  }),
  async start({ configuration, log, store, messaging, onStop, singleton }) {
    const workplaces = new Map<string, { ledger: Ledger; worker: HostWorker }>();
    for (const configured of configuration.BACKHAUL_HOSTS) {
      const { hostId, kind, address } = configured;
      const host = await openHost({
        ...configured,
        stateDirectory: configuration.BACKHAUL_STATE_DIRECTORY,
        applianceDirectory: configuration.BACKHAUL_APPLIANCE_DIRECTORY,
        scratchDirectory: configuration.BACKHAUL_SCRATCH_DIRECTORY,
      });
      onStop(`host ${hostId}`, () => host.close());
      const ledger = new Ledger(hostId);
      const worker = new HostWorker({ host, ledger, store, log });
      workplaces.set(hostId, { ledger, worker });
      singleton(`host ${hostId}`, async (signal) => {
        const at = Date.now();
        await ledger.decide(store, { kind: 'registration', at }, (pool) =>
          carryOut(pool, { type: 'RegisterHost', kind, address }, new Date(at).toISOString()),
        );
        await worker.run(signal);
      });
    }

    await messaging.consumeBatches({
      purpose: 'pool',
      types: poolNews,
      async handle(events, once) {
        for (const [hostId, ofHost] of Map.groupBy(events, ({ data }) => data.hostId)) {
          const workplace = workplaces.get(hostId);
          if (workplace === undefined) throw notConfigured(hostId);
          await takeNews(workplace.ledger, ofHost, once);
          workplace.worker.wake();
        }
      },
    });
  },
});

function notConfigured(hostId: string): Fault {
  return new Fault(
    `Host ${hostId} is not configured here; add it to BACKHAUL_HOSTS and send the letter again`,
    {
      permanent: true,
      code: 'HostNotConfigured',
    },
  );
}
