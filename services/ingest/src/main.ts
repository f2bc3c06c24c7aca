/** Ingest: carries out the leases of child jobs, and makes restore points. Start as many as the network can feed. */
import { RepositorySetting } from '@backhaul/contracts';
import { LeaseWatch } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import { byteRates, enoughFileThreads, runService } from '@backhaul/service';
import { z } from 'zod';
import { repositoryWhenThere, requireAdopted } from './adopt-repository.ts';
import { cancelBackup } from './cancel-backup.ts';
import { completeBackup, giveUpBackup } from './complete-backup.ts';
import { UNKNOWN } from './deployment-repository.ts';
import { OpenJobs } from './open-jobs.ts';
import { RepositoryPatience } from './repository-patience.ts';
import { giveUpChildJob, runChildJob } from './run-child-job.ts';
import { end, failedBecause } from './transfer.ts';

enoughFileThreads();
await runService({
  name: 'ingest',
  configuration: z.object({
    BACKHAUL_REPOSITORY: RepositorySetting,
    /** The id of the repository in whose place this one comes, on purpose: docs/operations.md. */
    BACKHAUL_REPOSITORY_REPLACES: z.union([z.uuid(), z.literal(UNKNOWN)]).optional(),
    BACKHAUL_CHILD_JOBS_AT_ONCE: z.coerce.number().int().positive().default(4),
    /** 4 MiB each: the memory of the data path. */
    BACKHAUL_CHUNK_BUFFERS: z.coerce.number().int().min(2).default(20),
    /** How long a backup waits for a repository that is full, fails or is away. Its snapshot is held meanwhile. */
    BACKHAUL_REPOSITORY_PATIENCE_SECONDS: z.coerce.number().int().positive().default(14_400),
    /** A file system that takes longer for 4 MiB hangs: that is the repository failing, and is waited for as that is. */
    BACKHAUL_REPOSITORY_ANSWER_SECONDS: z.coerce.number().int().positive().default(60),
    BACKHAUL_READ_TIMEOUT_MILLISECONDS: z.coerce.number().int().positive().default(30_000),
  }),
  async start({ configuration, log, store, messaging, onStop, needs }) {
    const location = configuration.BACKHAUL_REPOSITORY;
    let isThere = async (): Promise<string> => 'it is being opened';
    needs('repository', async () => ({ ok: true, detail: await isThere() }));
    const repository = await repositoryWhenThere(
      {
        ...{ store, log, replaces: configuration.BACKHAUL_REPOSITORY_REPLACES },
        options: {
          ...{ location, buffers: configuration.BACKHAUL_CHUNK_BUFFERS },
          answerMilliseconds: configuration.BACKHAUL_REPOSITORY_ANSWER_SECONDS * 1000,
        },
      },
      (reason) => {
        isThere = () => Promise.reject(new Fault(reason));
      },
    );
    const patience = new RepositoryPatience({
      ...{ log, seconds: configuration.BACKHAUL_REPOSITORY_PATIENCE_SECONDS },
    });
    isThere = async () => {
      if (patience.reason !== undefined) throw new Fault(patience.reason);
      await requireAdopted(store, repository);
      return `${repository.repositoryId} in ${location}`;
    };
    onStop('repository', () => repository.close());
    const parts = {
      ...{ store, repository, patience, openJobs: new OpenJobs(store) },
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
      handle: (event, signal) => completeBackup(parts, event, signal),
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
