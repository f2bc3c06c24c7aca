/** The proxy-manager: owns the pool of each configured host. Several may run; each host is worked at by one of them. */
import {
  ApplianceDirectorySetting,
  HostsSetting,
  ScratchDirectorySetting,
  StateDirectorySetting,
} from '@backhaul/contracts';
import { whyAllEndsWithUs } from '@backhaul/hypervisor';
import { keptPools } from '@backhaul/kept-pools';
import { Fault } from '@backhaul/kernel';
import { poolNews } from '@backhaul/pool';
import { enoughFileThreads, runService } from '@backhaul/service';
import { z } from 'zod';
import { HostPlace } from './host-place.ts';
import { takeNews } from './take-news.ts';

enoughFileThreads();
await runService({
  name: 'proxy-manager',
  configuration: z.object({
    BACKHAUL_HOSTS: HostsSetting,
    BACKHAUL_STATE_DIRECTORY: StateDirectorySetting,
    BACKHAUL_APPLIANCE_DIRECTORY: ApplianceDirectorySetting,
    BACKHAUL_SCRATCH_DIRECTORY: ScratchDirectorySetting,
  }),
  async start({ configuration, log, store, messaging, onStop, part, singleton }) {
    const ending = await whyAllEndsWithUs();
    if (ending !== undefined) log.warn(ending);
    const places = new Map<string, HostPlace>();
    const site = {
      stateDirectory: configuration.BACKHAUL_STATE_DIRECTORY,
      applianceDirectory: configuration.BACKHAUL_APPLIANCE_DIRECTORY,
      scratchDirectory: configuration.BACKHAUL_SCRATCH_DIRECTORY,
    };
    const kept = keptPools({ store, log });
    for (const configured of configuration.BACKHAUL_HOSTS) {
      const { hostId } = configured;
      const place = new HostPlace({ configured, site, store, kept, log });
      places.set(hostId, place);
      onStop(`host ${hostId}`, () => place.close());
      part(`host ${hostId}`, () => place.health());
      singleton(`host ${hostId}`, (signal) => place.run(signal));
    }

    await messaging.consumeBatches({
      purpose: 'pool',
      types: poolNews,
      async handle(events, once) {
        for (const [hostId, ofHost] of Map.groupBy(events, ({ data }) => data.hostId)) {
          const place = places.get(hostId);
          if (place === undefined) throw notConfigured(hostId);
          await takeNews(place.ledger, ofHost, once);
          place.wake();
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
