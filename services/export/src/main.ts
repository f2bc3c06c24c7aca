/** Export: carries out the leases of data streams, and says how recoveries end. Start as many as the network can feed. */
import { join } from 'node:path';
import { RepositorySetting, StateDirectorySetting } from '@backhaul/contracts';
import { LeaseWatch } from '@backhaul/event-store';
import { ChunkCache } from '@backhaul/repository';
import { byteRates, enoughFileThreads, runService } from '@backhaul/service';
import { z } from 'zod';
import { cancelRecovery } from './cancel-recovery.ts';
import { completeRecovery, giveUpSaying, sayExported } from './complete-recovery.ts';
import { failRecovery, giveUpFailing } from './fail-recovery.ts';
import { MountKeeper } from './keep-mounts.ts';
import { mountOnActivation, unmountOnClose } from './mount-news.ts';
import { repositoryThere } from './repository-there.ts';
import { giveUpExportJob, runExportJob } from './run-export-job.ts';

/** Ingest makes it, and may be starting too. */
const REPOSITORY_MILLISECONDS = 20_000;

enoughFileThreads();
await runService({
  name: 'export',
  configuration: z.object({
    BACKHAUL_REPOSITORY: RepositorySetting,
    /** Shared with the hosts: sockets that VMs start from are in `mounts/`. */
    BACKHAUL_STATE_DIRECTORY: StateDirectorySetting.default('/var/lib/backhaul'),
    BACKHAUL_EXPORT_JOBS_AT_ONCE: z.coerce.number().int().positive().default(4),
    /**
     * 4 MiB each: the memory of the data path. A stream uses four for each of its ports (PIECES_PER_PORT); with fewer than all need
     * they wait in turn, and nobody for ever.
     */
    BACKHAUL_CHUNK_BUFFERS: z.coerce.number().int().min(2).default(20),
    BACKHAUL_WRITE_TIMEOUT_MILLISECONDS: z.coerce.number().int().positive().default(30_000),
    /** How long a failed recovery looks for an older restore point that is whole. */
    BACKHAUL_ALTERNATIVE_SECONDS: z.coerce.number().int().positive().default(60),
  }),
  async start({ configuration, log, store, messaging, onStop, singleton }) {
    const repository = await repositoryThere(
      { location: configuration.BACKHAUL_REPOSITORY, buffers: configuration.BACKHAUL_CHUNK_BUFFERS },
      REPOSITORY_MILLISECONDS,
    );
    onStop('repository', () => repository.close());
    const parts = {
      store,
      repository,
      requestMilliseconds: configuration.BACKHAUL_WRITE_TIMEOUT_MILLISECONDS,
      rates: byteRates(store),
      alternativeSeconds: configuration.BACKHAUL_ALTERNATIVE_SECONDS,
      log,
    };
    const leases = new LeaseWatch(store, (error) => log.warn({ error }, 'leases could not be looked after'));
    await messaging.consumeWork({
      purpose: 'export-jobs',
      types: ['PortsLeased'],
      concurrency: configuration.BACKHAUL_EXPORT_JOBS_AT_ONCE,
      handle: (event, stop) =>
        leases.whileHeld(event, stop, ({ signal, hasEnded }) => runExportJob(parts, event, signal, hasEnded)),
      givenUp: (event, error) => giveUpExportJob(parts, event, error),
    });
    await messaging.consumeWork({
      purpose: 'exports',
      types: ['ExportJobCompleted'],
      concurrency: 2,
      handle: (event) => sayExported(parts, event),
      givenUp: (event, error) => giveUpSaying(parts, event, error),
    });
    await messaging.consumeWork({
      purpose: 'failures',
      types: ['RunFailed'],
      concurrency: 1,
      handle: (event, signal) => failRecovery(parts, event, signal),
      givenUp: (event) => giveUpFailing(parts, event),
    });
    await messaging.consumeWork({
      purpose: 'cancellations',
      types: ['RecoveryCancelOrdered'],
      concurrency: 1,
      handle: (event) => cancelRecovery(parts, event),
    });
    await messaging.consume({
      purpose: 'recoveries',
      types: ['TargetKept', 'TargetFilled'],
      handle: (event, transaction) => completeRecovery(transaction, event),
    });
    const keeper = new MountKeeper({
      ...{ store, repository, log },
      cache: new ChunkCache({ repository }),
      folder: join(configuration.BACKHAUL_STATE_DIRECTORY, 'mounts'),
    });
    singleton('mounts', (signal) => keeper.run(signal));
    onStop('mounts', () => keeper.close());
    const mounts = { store, wake: (recoveryId: string) => keeper.wake(recoveryId) };
    await messaging.consumeWork({
      purpose: 'mounts',
      types: ['ActivationRequested'],
      concurrency: 1,
      handle: (event) => mountOnActivation(mounts, event),
    });
    await messaging.consumeWork({
      purpose: 'unmounts',
      types: ['RunClosed'],
      concurrency: 1,
      handle: (event) => unmountOnClose(mounts, event),
    });
  },
});
