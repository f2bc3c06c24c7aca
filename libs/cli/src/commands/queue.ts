/** `backhaul queue`: who waits, what for, and when it would start. */
import type { consoleApi } from '@backhaul/contracts';
import type { CommandContext } from '../command.ts';
import { shortId, type TableColumn, table } from '../table.ts';
import { json } from '../terminal.ts';

export async function showQueue(
  flags: { readonly host?: string; readonly json?: boolean },
  { locations, terminal }: CommandContext,
): Promise<void> {
  const waits = await (await locations.client()).queue(flags.host);
  if (flags.json === true) return terminal.out(json(waits));
  if (waits.length === 0) return terminal.out('Nobody waits.');
  for (const line of queueLines(waits, Date.now())) terminal.out(line);
}

/** `now` in milliseconds since the epoch: ages are told by it. */
export function queueLines(waits: readonly consoleApi.QueueView[], now: number): string[] {
  const columns: readonly TableColumn<consoleApi.QueueView>[] = [
    { title: 'RUN', value: ({ runId }) => shortId(runId) },
    { title: 'WHAT', value: ({ purpose }) => purpose },
    { title: 'HOST', value: ({ hostId }) => hostId },
    { title: 'VM', value: ({ vmId }) => vmId },
    { title: 'PRIORITY', value: ({ priority }) => priority },
    { title: 'AGE', value: ({ askedAt }) => age(now - Date.parse(askedAt)), right: true },
    { title: 'FOR', value: ({ waitsFor }) => waitsFor },
    { title: 'PLACE', value: ({ place, of }) => `${place}/${of}`, right: true },
    { title: 'STARTS', value: ({ estimate }) => estimate },
    { title: 'BECAUSE', value: ({ because }) => because },
  ];
  return table(columns, waits);
}

function age(milliseconds: number): string {
  const minutes = Math.max(0, Math.floor(milliseconds / 60_000));
  if (minutes < 60) return `${minutes} min`;
  return minutes < 48 * 60 ? `${(minutes / 60).toFixed(1)} h` : `${Math.floor(minutes / 1440)} d`;
}
