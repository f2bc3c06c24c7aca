/** Wires the trigger: requests over NATS and HTTP, schedules, and the turns of VMs. */
import { HostsSetting } from '@backhaul/contracts';
import { commandService } from '@backhaul/event-store';
import { runService } from '@backhaul/service';
import { z } from 'zod';
import { serveHttp } from './adapters/http-api.ts';
import { consumeFromNats } from './adapters/nats.ts';
import { schedulerOf } from './adapters/scheduler.ts';
import { schedule } from './core/schedule.ts';
import { deskOn, LONG_STREAMS_CACHED } from './subjects.ts';

await runService({
  name: 'trigger',
  isAsked: true,
  configuration: z.object({ BACKHAUL_HOSTS: HostsSetting }),
  async start({ configuration, store, messaging, http, log, singleton }) {
    const hosts = new Set(configuration.BACKHAUL_HOSTS.map(({ hostId }) => hostId));
    const desk = deskOn(store, hosts, () => new Date().toISOString());
    const schedules = commandService(store, schedule, { cachedStreams: LONG_STREAMS_CACHED });
    serveHttp(http, desk, schedules, messaging.answer);
    await consumeFromNats(messaging, desk, schedules);
    const scheduler = schedulerOf({ desk, schedules, log });
    singleton('schedules', (signal) => scheduler.run(signal));
  },
});
