/** `backhaul events` and `backhaul explain`: what happened in a backup or a recovery, and why it happened so. */
import type { consoleApi } from '@backhaul/contracts';
import type { CommandContext } from '../command.ts';
import { chunksLine, storyLine } from '../event-line.ts';
import { json } from '../terminal.ts';

export async function explain(id: string, flags: { json?: boolean }, context: CommandContext): Promise<void> {
  const client = await context.locations.client();
  const run = await client.run(id);
  const explanation =
    run.purpose === 'backup'
      ? await client.explain(run.backup.backupId)
      : await client.explainRecovery(run.recovery.recoveryId);
  if (flags.json === true) context.terminal.out(json(explanation));
  else for (const line of explanation.lines) context.terminal.out(line);
}

/** In order, from the log. With `json` every event on a line of its own; else chunks are told together unless asked for. */
export async function events(
  id: string,
  flags: { json?: boolean; chunks?: boolean },
  { locations, terminal }: CommandContext,
): Promise<void> {
  const client = await locations.client();
  const run = await client.run(id);
  const story =
    run.purpose === 'backup'
      ? client.story(run.backup.backupId)
      : client.recoveryStory(run.recovery.recoveryId);
  let firstAt: string | undefined;
  // Chunks of several child jobs arrive interleaved: each job has its own run, told when the story goes on.
  const runs = new Map<string, consoleApi.RecordedEvent[]>();
  const tellRuns = (): void => {
    for (const chunks of runs.values()) terminal.out(chunksLine(chunks, firstAt ?? ''));
    runs.clear();
  };
  for await (const event of story) {
    if (flags.json === true) {
      terminal.out(JSON.stringify(event));
      continue;
    }
    firstAt ??= event.recordedAt;
    const isChunk = event.type === 'ChunkReceived' || event.type === 'ChunkExported';
    if (isChunk && flags.chunks !== true) {
      const run = runs.get(event.stream) ?? [];
      run.push(event);
      runs.set(event.stream, run);
      continue;
    }
    tellRuns();
    terminal.out(storyLine(event, firstAt));
  }
  tellRuns();
}
