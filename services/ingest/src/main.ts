/** Ingest: carries out the leases of child jobs, and makes restore points. Start as many as the network can feed. */
import { RepositorySetting } from '@backhaul/contracts';
import { LeaseWatch } from '@backhaul/event-store';
import { openRepository } from '@backhaul/repository';
import { byteRates, runService } from '@backhaul/service';
import { z } from 'zod';
import { cancelBackup } from './cancel-backup.ts';
import { completeBackup, giveUpBackup } from './complete-backup.ts';
import { giveUpChildJob, runChildJob } from './run-child-job.ts';
import { end, failedBecause } from './transfer.ts';

await runService({
  name: 'ingest',
  configuration: z.object({
    BACKHAUL_REPOSITORY: RepositorySetting,
    BACKHAUL_CHILD_JOBS_AT_ONCE: z.coerce.number().int().positive().default(4),
    /** 4 MiB each: the memory of the data path. */
    BACKHAUL_CHUNK_BUFFERS: z.coerce.number().int().min(2).default(20),
    BACKHAUL_READ_TIMEOUT_MILLISECONDS: z.coerce.number().int().positive().default(30_000),
  }),
  async start({ configuration, log, store, messaging, onStop }) {
    const repository = await openRepository({
      location: configuration.BACKHAUL_REPOSITORY,
      buffers: configuration.BACKHAUL_CHUNK_BUFFERS,
    });
    onStop('repository', () => repository.close());
    const parts = {
      store,
      repository,
      requestMilliseconds: configuration.BACKHAUL_READ_TIMEOUT_MILLISECONDS,
      rates: byteRates(store),
      log,
    };
    const leases = new LeaseWatch(store, (error) => log.warn({ error }, 'leases could not be looked after'));
    await messaging.consumeWork({
      purpose: 'child-jobs',
      types: ['PortsLeased'],
      concurrency: configuration.BACKHAUL_CHILD_JOBS_AT_ONCE,
      handle: (event, stop) =>
        leases.whileHeld(event, stop, ({ signal, hasEnded }) => runChildJob(parts, event, signal, hasEnded)),
      givenUp: (event, error) => giveUpChildJob(parts, event, error),
    });
    await messaging.consumeWork({
      purpose: 'restore-points',
      types: ['ChildJobCompleted'],
      concurrency: 2,
      handle: (event) => completeBackup(parts, event),
      givenUp: (event, error) => giveUpBackup(parts, event, error),
    });
    await messaging.consume({
      purpose: 'cancellations',
      types: ['BackupCancelOrdered'],
      handle: (event, transaction) => cancelBackup(transaction, event),
    });
    await messaging.consume({
      purpose: 'failures',
      types: ['RunFailed'],
      async handle(event, transaction) {
        if (event.data.purpose !== 'backup') return;
        const metadata = { ...event.metadata, causation: event.eventId, actor: 'ingest' };
        await end(transaction, failedBecause(event, event.recordedAt), metadata);
      },
    });
  },
});
