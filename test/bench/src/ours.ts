/** Backhaul as the end-to-end benchmarks run it: all services, one host, and the log to learn from what happened when. */
import { join } from 'node:path';
import { requestBackup } from '@backhaul/client';
import type { EventData, HostConfiguration } from '@backhaul/contracts';
import { connectEventStore, type EventStore } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import { type Stack, startStack } from '@backhaul/local';
import { find } from './find-event.ts';
import { timed } from './peers.ts';

const HOST = 'bench';

export interface Ours {
  readonly stack: Stack;
  readonly hostId: string;
  readonly log: EventStore;
  backup(
    vm: string,
    kind: 'full' | 'auto',
  ): Promise<{ seconds: number; completed: EventData<'BackupCompleted'>; first: number }>;
  forget(): Promise<void>;
  close(): Promise<void>;
}

/** The stack, with its log: each full goes into the repository after its chunks were removed, as the peers begin with an empty one. */
export async function openOurs(
  directory: string,
  host: Omit<HostConfiguration, 'hostId'>,
  ...others: readonly HostConfiguration[]
): Promise<Ours> {
  const repository = join(directory, 'repository');
  const stack = await startStack({
    directory,
    repository,
    hosts: [{ hostId: HOST, ...host }, ...others],
  });
  const log = await connectEventStore({ url: stack.consolePostgresUrl });
  return {
    stack,
    hostId: HOST,
    log,
    async backup(vm, kind) {
      const begun = Date.now();
      const answer = await requestBackup({ natsUrl: stack.natsUrl, host: HOST, vm, kind });
      if (answer.backupId === undefined)
        throw new Fault(`The backup was refused: ${answer.refusal?.message}`);
      const completed = await find(log, answer.backupId, 'BackupCompleted');
      const chunk = await find(log, answer.backupId, 'ChunkReceived');
      await find(log, answer.backupId, 'RunClosed');
      return {
        seconds: (Date.parse(completed.data.completedAt) - begun) / 1000,
        completed: completed.data as EventData<'BackupCompleted'>,
        first: (Date.parse(chunk.recordedAt) - begun) / 1000,
      };
    },
    async forget() {
      const ingest = stack.services.get('ingest');
      await ingest?.stop();
      // Its own file stays: a deployment waits for the repository that it knows.
      await timed(
        `find ${repository} -mindepth 1 -maxdepth 1 ! -name repository.json -exec rm -rf {} + && sync`,
      );
      await ingest?.start();
    },
    async close() {
      await log.close();
      await stack.stop();
    },
  };
}
