/**
 * The repository of this deployment, opened; made only where that is decided (deployment-repository.ts). What is made is noted after it is
 * there: killed between the two, the next start finds it, and notes it. Of several processes that start at once one notes its own, and
 * the others find it noted.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { deploymentRepositoryStream } from '@backhaul/contracts';
import { adoptedRepository, type EventStore } from '@backhaul/event-store';
import { describeError, Fault, hasCode, isPermanent, refusalLine } from '@backhaul/kernel';
import {
  isRepositoryFault,
  type OpenRepositoryOptions,
  openRepository,
  type Repository,
  repositoryAway,
  repositoryIdAt,
} from '@backhaul/repository';
import type { Logger } from 'pino';
import { adoptedEvent, decide } from './deployment-repository.ts';

export interface AdoptionParts {
  readonly store: EventStore;
  readonly options: Pick<OpenRepositoryOptions, 'location' | 'buffers' | 'workers' | 'answerMilliseconds'>;
  /** The id of the repository in whose place another is wanted, by an operator's order. */
  readonly replaces: string | undefined;
  readonly log: Logger;
}

/** Throws a Fault with the code `RepositoryAway`, which may mend, where it is not there and is not to be made. */
export async function adoptRepository({ store, options, replaces, log }: AdoptionParts): Promise<Repository> {
  for (;;) {
    const { repository: adopted, version } = await adoptedRepository(store);
    const { location } = options;
    const repositoryId = await repositoryIdAt(options);
    const hasBackups = adopted === undefined && repositoryId === undefined && (await hasAnyBackup(store));
    const decided = decide(adopted, { location, repositoryId, hasBackups }, replaces);
    if (!decided.ok) throw new Fault(refusalLine(decided.refusal), { code: decided.refusal.code });
    const decision = decided.value;
    if ('use' in decision) return await openThis(options, decision.use);

    const made = 'make' in decision;
    const repository = made ? await openRepository(options) : await openThis(options, decision.adopt);
    const event = adoptedEvent({ made, replaces: decision.replaces }, repository, new Date().toISOString());
    const noted = await store.append(
      [{ stream: deploymentRepositoryStream, expected: version, events: [event] }],
      {
        commandId: `adopt ${repository.repositoryId} at ${version}`,
        metadata: { correlation: deploymentRepositoryStream, causation: 'start', actor: 'ingest' },
      },
    );
    if (noted.ok) {
      log.info(event.data, 'backups go into this repository from now on');
      return repository;
    }
    await repository.close();
  }
}

/** As often as it takes, for a file system may be mounted later than this starts; `onWait` is told why. */
export async function repositoryWhenThere(
  parts: AdoptionParts,
  onWait: (reason: string) => void,
  milliseconds = 1_000,
): Promise<Repository> {
  for (let told = ''; ; await pause(milliseconds)) {
    try {
      return await adoptRepository(parts);
    } catch (error) {
      if (!isRepositoryFault(error)) throw error;
      const reason = describeError(error);
      onWait(reason);
      if (reason !== told) parts.log.warn({ reason }, 'the repository is not there: backups wait for it');
      told = reason;
    }
  }
}

/** Whether `repository` is there, and is still the one that this deployment backs up to: another process may have been told to take another. */
export async function requireAdopted(
  store: EventStore,
  repository: Pick<Repository, 'location' | 'repositoryId' | 'requireThere'>,
): Promise<void> {
  const { repository: adopted } = await adoptedRepository(store);
  if (adopted !== undefined && adopted.repositoryId !== repository.repositoryId) {
    const instead = `repository ${adopted.repositoryId} in ${adopted.location} has taken its place; start this ingest with that one`;
    throw repositoryAway(repository.location, repository.repositoryId, instead);
  }
  await repository.requireThere();
}

/** Between the look and the opening it may have gone. */
async function openThis(options: AdoptionParts['options'], repositoryId: string): Promise<Repository> {
  const { location } = options;
  let repository: Repository;
  try {
    repository = await openRepository({ ...options, create: false, removeAbandoned: true });
  } catch (cause) {
    if (isPermanent(cause) && !hasCode(cause, 'NoRepository')) throw cause;
    throw repositoryAway(location, repositoryId, 'it cannot be opened', cause);
  }
  if (repository.repositoryId === repositoryId) return repository;
  await repository.close();
  throw repositoryAway(location, repositoryId, `repository ${repository.repositoryId} is there instead`);
}

async function hasAnyBackup(store: EventStore): Promise<boolean> {
  for (let after = 0; ; ) {
    const page = await store.readLog(after, { types: ['BackupCompleted'], limit: 1 });
    if (page.events.length > 0) return true;
    if (page.next >= page.highWater) return false;
    after = page.next;
  }
}
