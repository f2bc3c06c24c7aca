/**
 * A pool as bytes and back, so that a process that starts folds what has happened since, and not the life of its host. It is of the release that
 * folded it and of no other: whoever keeps the bytes keeps by their side what made them.
 */
import { deserialize, serialize } from 'node:v8';
import type { Pool } from './pool-state.ts';

/** All of it, with what is the same object in two places (a lease and its holder) being the same one again. */
export const stateOf = (pool: Pool): Buffer => serialize(pool);

export const poolFrom = (state: Uint8Array): Pool => deserialize(state) as Pool;
