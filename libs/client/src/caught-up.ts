/**
 * What is asked of the projections right behind an answer of the trigger: they follow the log, by milliseconds as a rule, so "there is no such
 * thing" may only mean "not yet". It is believed when the projections know everything that was recorded when it was said.
 */
import { eventually } from '@backhaul/kernel';
import { ProblemFault } from './http.ts';

/** Behind by more, the projections are rebuilt or stand still: then what they do not know is told as unknown. */
const PATIENCE_MILLISECONDS = 5_000;
const POLL_MILLISECONDS = 20;

export interface Standing {
  readonly logHighWater: number;
  readonly checkpoint: number;
}

/** What `find` finds; it is asked a second time, when the projections have caught up, where it finds nothing at first. */
export async function caughtUp<Found>(
  find: () => Promise<Found>,
  standing: () => Promise<Standing>,
  patienceMilliseconds = PATIENCE_MILLISECONDS,
): Promise<Found> {
  try {
    return await find();
  } catch (error) {
    if (!(error instanceof ProblemFault) || error.problem.status !== 404) throw error;
    const { logHighWater } = await standing();
    const isThere = async (): Promise<true | undefined> =>
      (await standing()).checkpoint >= logHighWater ? true : undefined;
    const waited = eventually(
      'the projections to catch up',
      patienceMilliseconds,
      isThere,
      POLL_MILLISECONDS,
    );
    if (await waited.catch(() => false)) return await find();
    throw error;
  }
}
