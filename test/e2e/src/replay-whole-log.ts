/** Whatever was done to a lab: what its log says was planned and decided is planned and decided again, from the log alone. */
import { type EventStore, storedLog } from '@backhaul/event-store';
import { LogCheck, reportLines } from '@backhaul/replay';

/** Throws with the first differences. */
export async function replayWholeLog(log: EventStore): Promise<void> {
  const check = new LogCheck();
  for await (const record of storedLog(log, { except: ['ChunkReceived', 'ChunkExported'] }))
    check.take(record);
  const report = check.report();
  const notCheckable = Object.values(report.tallies).flatMap((tally) => [...tally.notCheckable.keys()]);
  // A refusal at the host is the world's word; all else was recorded by this release, which says what it decided on.
  const unexpected = notCheckable.filter((reason) => !reason.startsWith('refused before'));
  if (report.differences.length > 0 || unexpected.length > 0) throw new Error(reportLines(report).join('\n'));
}
