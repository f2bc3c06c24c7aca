/** A described fleet, simulated from its description to the comparison. */
import { ok, type Result } from '@backhaul/kernel';
import { describedSource, type SourceOptions } from './described-source.ts';
import type { Fleet } from './fleet.ts';
import { type Comparison, simulated } from './simulate.ts';

export function simulatedFleet(fleet: Fleet, options: SourceOptions): Result<Comparison> {
  const source = describedSource(fleet, options);
  return source.ok ? ok(simulated(source.value, options.seed)) : source;
}
