/** The proxy-manager: owns the pool of each configured host. Several may run; each host is worked at by one of them. */
import { HostsSetting, StateDirectorySetting } from '@backhaul/contracts';
import { openHost } from '@backhaul/hypervisor';
import { Fault } from '@backhaul/kernel';
import { runService } from '@backhaul/service';
import { z } from 'zod';
import { decide, react } from './commands.ts';
import { HostWorker } from './host-worker.ts';
import { Ledger } from './ledger.ts';
import type { HostEvent, Pool } from './pool.ts';

await runService({
  name: 'proxy-manager',
  configuration: z.object({ BACKHAUL_HOSTS: HostsSetting, BACKHAUL_STATE_DIRECTORY: StateDirectorySetting }),
  async start({ configuration, log, store, messaging, onStop, singleton }) {
    const workplaces = new Map<string, { ledger: Ledger; worker: HostWorker }>();
    for (const { hostId, kind, address } of configuration.BACKHAUL_HOSTS) {
      const host = await openHost({
        hostId,
        kind,
        address,
        stateDirectory: configuration.BACKHAUL_STATE_DIRECTORY,
      });
      onStop(`host ${hostId}`, () => host.close());
      const ledger = new Ledger(hostId);
      const worker = new HostWorker({ host, ledger, store, log });
      workplaces.set(hostId, { ledger, worker });
      singleton(`host ${hostId}`, async (signal) => {
        await ledger.decide(store, (pool) => carriedOut(pool, { type: 'RegisterHost', kind, address }));
        await worker.run(signal);
      });
    }

    await messaging.consume({
      purpose: 'pool',
      types: [
        'ProxiesCalculated',
        'ChildJobCompleted',
        'ChildJobInterrupted',
        'BackupCompleted',
        'BackupFailed',
      ],
      async handle(event, transaction) {
        const { hostId, command } = react(event, event.recordedAt);
        const workplace = workplaces.get(hostId);
        if (workplace === undefined) {
          throw new Fault(
            `Host ${hostId} is not configured here; add it to BACKHAUL_HOSTS and send the letter again`,
            {
              permanent: true,
              code: 'HostNotConfigured',
            },
          );
        }
        await workplace.ledger.decide(transaction, (pool) => carriedOut(pool, command), {
          commandId: event.eventId,
          metadata: { ...event.metadata, causation: event.eventId, actor: 'proxy-manager' },
        });
        transaction.onCommitted(() => workplace.worker.wake());
      },
    });
  },
});

/** None of the pool's commands is refused: what comes too late asks for nothing. */
function carriedOut(pool: Pool, command: Parameters<typeof decide>[1]): HostEvent[] {
  const decided = decide(pool, command);
  return decided.ok ? decided.value : [];
}
