import type { Refusal } from './refusal.ts';
import type { Result } from './result.ts';

/**
 * An aggregate, as a pure machine (after Chassaing's Decider and Equinox' module order).
 * - `evolve` never refuses: history already happened. An event it does not know changes nothing.
 * - `decide` never waits: time, ids and randomness arrive inside the command. A command that already took effect
 *   yields no events, so redelivery is harmless.
 */
export interface Decider<State, Command, Event, R = Refusal> {
  readonly initialState: State;
  evolve(state: State, event: Event): State;
  decide(state: State, command: Command): Result<Event[], R>;
}

/** The state after a whole history. */
export const fold = <State, Event>(
  evolve: (state: State, event: Event) => State,
  initialState: State,
  events: Iterable<Event>,
): State => {
  let state = initialState;
  for (const event of events) state = evolve(state, event);
  return state;
};
