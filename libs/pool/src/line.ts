/**
 * A line of runs, kept in order. Who holds less for its weight comes first, then who has the earlier turn (contracts, priority.ts), then
 * who came to the host first. Pure, and never sorted again: a place that changes is taken out and put in.
 */
import { turnOf, weightOf } from '@backhaul/contracts';
import type { Place, Run } from './pool-state.ts';

/** `held`: ports that count against it in this line; 0 in lines where only the turn counts. */
export const placeOf = ({ order, number }: Run, held = 0): Place => ({
  held,
  weight: weightOf(order.priority),
  turn: turnOf(order),
  number,
  runId: order.runId,
});

export const byTurn = (a: Place, b: Place): number =>
  a.held * b.weight - b.held * a.weight || a.turn - b.turn || a.number - b.number;

export function insert(line: Place[], place: Place): void {
  line.splice(indexOf(line, place), 0, place);
}

export function remove(line: Place[], place: Place): void {
  const index = indexOf(line, place);
  if (line[index]?.runId === place.runId) line.splice(index, 1);
}

/** Where a place stands in an ordered line, or would. */
function indexOf(line: readonly Place[], place: Place): number {
  let [low, high] = [0, line.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byTurn(line[middle] as Place, place) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
