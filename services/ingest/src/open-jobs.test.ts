import type { LogFilter, LogPage, StreamReader } from '@backhaul/event-store';
import { derivedId } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { OpenJobs } from './open-jobs.ts';

const JOBS = 500;
const id = (name: string): string => derivedId('open jobs', name);

/** A log in which backups of many child jobs complete one job after the other, each followed by news of others. */
function logOf(backups: readonly string[]) {
  const events: { position: number; type: string; correlation: string; data: { childJobId: string } }[] = [];
  let highWater = 0;
  let handedOut = 0;
  let plansRead = 0;
  const reader = {
    async *readStream(stream: string) {
      plansRead += 1;
      const backup = stream.slice('plan-'.length);
      const childJobs = Array.from({ length: JOBS }, (_, n) => ({ childJobId: `${backup}.vda.${n}` }));
      yield { type: 'ProxiesCalculated', data: { childJobs } };
    },
    async readLog(after: number, filter: LogFilter): Promise<LogPage> {
      const page = events
        .slice(after, highWater)
        .filter(
          ({ type, correlation }) =>
            filter.types?.some((t) => t === type) && correlation === filter.correlation,
        );
      handedOut += page.length;
      return { events: page as unknown as LogPage['events'], next: highWater, highWater };
    },
  };
  return {
    jobs: new OpenJobs(reader as unknown as StreamReader & { readLog: typeof reader.readLog }),
    complete(backup: string, n: number): number {
      const data = { childJobId: `${backup}.vda.${n}` };
      events.push({ position: events.length + 1, type: 'ChildJobCompleted', correlation: backup, data });
      return events.length;
    },
    see: () => {
      highWater = events.length;
    },
    counts: () => ({ handedOut, plansRead }),
    backups,
  };
}

test('a backup is complete with its last child job, and each completion is read once however often it is asked', async () => {
  const log = logOf([id('a'), id('b')]);
  const answers = new Map<string, boolean[]>();
  for (let n = 0; n < JOBS; n += 1)
    for (const backup of log.backups) {
      const position = log.complete(backup, n);
      log.see();
      answers.set(backup, [...(answers.get(backup) ?? []), await log.jobs.allCompleted(backup, position)]);
    }
  for (const said of answers.values()) expect(said.indexOf(true)).toBe(JOBS - 1);
  expect(log.counts()).toEqual({ handedOut: 2 * JOBS, plansRead: 2 });
});

test('what was forgotten, because more ran at once than are remembered, is read anew and answered alike', async () => {
  const backups = Array.from({ length: 100 }, (_, n) => id(`${n}`));
  const log = logOf(backups);
  for (const backup of backups) for (let n = 1; n < JOBS; n += 1) log.complete(backup, n);
  log.see();
  for (const backup of backups) expect(await log.jobs.allCompleted(backup, 1)).toBe(false);
  for (const backup of backups) log.complete(backup, 0);
  log.see();
  for (const backup of backups) expect(await log.jobs.allCompleted(backup, 1)).toBe(true);
});

test('an older log gives no answer, and is read on from where it was', async () => {
  const [backup] = logOf([id('behind')]).backups;
  if (backup === undefined) throw new Error('There is one');
  const log = logOf([backup]);
  const last = Array.from({ length: JOBS }, (_, n) => log.complete(backup, n)).at(-1) ?? 0;
  await expect(log.jobs.allCompleted(backup, last)).rejects.toMatchObject({ code: 'LogBehind' });
  log.see();
  expect(await log.jobs.allCompleted(backup, last)).toBe(true);
});
