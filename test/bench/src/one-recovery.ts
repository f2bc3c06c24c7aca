/** One recovery of ours, and from its events what its time went to. */
import { requestRecovery } from '@backhaul/client';
import type { EventType, Recorded, TransportMode } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { find } from './find-event.ts';
import type { Ours } from './ours.ts';

export interface RecoveryOrder {
  readonly backup: string;
  /** The VM to be. */
  readonly vm: string;
  readonly mode: TransportMode;
  readonly verify: boolean;
}

export interface MeasuredRecovery {
  /** From the request to `RecoveryCompleted` in the log. */
  readonly seconds: number;
  /** Of that: until the first data stream could write; and after all data was exported, until the VM had its name. */
  readonly untilWritingSeconds: number;
  readonly finishingSeconds: number;
  /** Of the data streams' time: what reading back took. */
  readonly readBackShare: number;
}

export async function recover(ours: Ours, order: RecoveryOrder): Promise<MeasuredRecovery> {
  const { stack, log, hostId } = ours;
  const begun = Date.now();
  const answer = await requestRecovery({ natsUrl: stack.natsUrl, host: hostId, ...order });
  if (answer.recoveryId === undefined)
    throw new Fault(`The recovery was refused: ${answer.refusal?.message}`);
  await find(log, answer.recoveryId, 'RecoveryCompleted');
  await find(log, answer.recoveryId, 'RunClosed');
  const story = await storyOf(ours, answer.recoveryId);
  const [started, done] = [timesOf(story, 'ExportJobStarted'), timesOf(story, 'ExportJobCompleted')];
  const [exported, completed] = [first(story, 'DataExported'), first(story, 'RecoveryCompleted')];
  const written = timesOf(story, 'ChunkExported');
  const total = { streams: 0, readBack: 0 };
  for (const [childJobId, end] of done) {
    total.streams += end - (started.get(childJobId) ?? end);
    total.readBack += end - (written.get(childJobId) ?? end);
  }
  return {
    seconds: (completed - begun) / 1000,
    untilWritingSeconds: (Math.min(...started.values()) - begun) / 1000,
    finishingSeconds: (completed - exported) / 1000,
    readBackShare: total.readBack / total.streams,
  };
}

const TOLD = [
  'ExportJobStarted',
  'ChunkExported',
  'ExportJobCompleted',
  'DataExported',
  'RecoveryCompleted',
] as const satisfies readonly EventType[];
type Told = Recorded<(typeof TOLD)[number]>;

async function storyOf({ log }: Ours, recoveryId: string): Promise<Told[]> {
  const events: Told[] = [];
  for (let after = 0; ; ) {
    const page = await log.readLog(after, { correlation: recoveryId, types: TOLD });
    events.push(...(page.events as readonly Told[]));
    if (page.next >= page.highWater) return events;
    after = page.next;
  }
}

/** By data stream: when the last event of that type was recorded. */
function timesOf(
  story: readonly Told[],
  type: 'ExportJobStarted' | 'ChunkExported' | 'ExportJobCompleted',
): Map<string, number> {
  const times = new Map<string, number>();
  for (const event of story)
    if (event.type === type) times.set(event.data.childJobId, Date.parse(event.recordedAt));
  return times;
}

function first(story: readonly Told[], type: EventType): number {
  const event = story.find((each) => each.type === type);
  if (event === undefined) throw new Fault(`There is no ${type} in the story of the recovery`);
  return Date.parse(event.recordedAt);
}
