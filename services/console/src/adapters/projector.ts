/**
 * Moves the projections along the log: a page of events folded in memory, the rows written and the checkpoint moved in
 * one transaction. Nothing is remembered between pages but what stands in Postgres, so a killed projector goes on where
 * its last commit stands, and a rebuild is only another generation that starts at zero.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Recorded } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, Fault } from '@backhaul/kernel';
import { foldPage, selectionsOf } from '../projection.ts';
import { projections } from '../projections/all.ts';
import {
  CODE,
  type Generation,
  moveCheckpoint,
  noteProblem,
  readGenerations,
  swapIn,
} from './generations.ts';
import { type Database, loadRows, saveRows } from './row-storage.ts';

const PAGE_EVENTS = 4_000;
/** While a rebuild runs it gets more pages than the live tables, so that it catches up also under load. */
const REBUILD_PAGES_PER_ROUND = 8;

export interface ProjectorOptions {
  readonly store: EventStore;
  readonly signal: AbortSignal;
  readonly pageEvents?: number;
  readonly idleMilliseconds?: number;
  readonly onPage?: (page: { events: number; generation: number; behind: number }) => void;
  readonly onSwap?: (generation: number) => void;
  /** A failure that another try may mend; the next one comes after the idle time. */
  readonly onFault?: (error: unknown) => void;
}

/** Runs until `signal` aborts; the generations must have been prepared. One instance at a time is meant to; two at once only lose time. */
export async function runProjector(options: ProjectorOptions): Promise<void> {
  const { signal, idleMilliseconds = 100 } = options;
  const pause = (milliseconds: number): Promise<void> =>
    sleep(milliseconds, undefined, { signal }).catch(() => undefined);
  while (!signal.aborted) {
    try {
      if (!(await projectRound(options))) await pause(idleMilliseconds);
    } catch (error) {
      if (signal.aborted) return;
      options.onFault?.(error);
      await pause(idleMilliseconds * 10);
    }
  }
}

/** One page of the live tables and some of those being built. False when there was nothing to do. */
export async function projectRound(options: ProjectorOptions): Promise<boolean> {
  const { store } = options;
  const { live, building } = await readGenerations(store.kysely);
  let moved = false;
  // Tables of another release are moved on by that release, for as long as it runs beside this one.
  if (live?.code === CODE) moved = (await advance(live, options)) !== undefined;
  if (building?.code !== CODE) return moved;

  let built: Generation = building;
  for (let pages = 0; pages < REBUILD_PAGES_PER_ROUND; pages += 1) {
    const next = await advance(built, options);
    if (next === undefined) break;
    built = next;
    moved = true;
  }
  if (built.position >= (live?.position ?? 0) && (await swapIn(store.kysely, built))) {
    options.onSwap?.(built.generation);
    return true;
  }
  return moved;
}

/** The generation after one more page; undefined when it stands at the end of the log, or somebody else moved it. */
async function advance(generation: Generation, options: ProjectorOptions): Promise<Generation | undefined> {
  const { store, pageEvents = PAGE_EVENTS } = options;
  try {
    const page = await store.readLog(generation.position, { limit: pageEvents });
    if (page.next <= generation.position) {
      if (generation.problem !== null) await noteProblem(store.kysely, generation.generation, null);
      return undefined;
    }
    const won = await store.kysely.transaction().execute(async (transaction) => {
      // First, because it locks: a second projector waits here, and then finds that it lost.
      if (!(await moveCheckpoint(transaction, generation, page.next))) return false;
      await writePage(transaction, generation.generation, page.events);
      return true;
    });
    if (!won) return undefined;
    options.onPage?.({
      events: page.events.length,
      generation: generation.generation,
      behind: page.highWater - page.next,
    });
    return { ...generation, position: page.next };
  } catch (cause) {
    const problem = `Projecting the log after position ${generation.position} failed`;
    await noteProblem(store.kysely, generation.generation, `${problem}: ${describeError(cause)}`).catch(
      () => undefined,
    );
    throw new Fault(problem, { cause });
  }
}

async function writePage(db: Database, generation: number, events: readonly Recorded[]): Promise<void> {
  for (const projection of projections) {
    const selections = selectionsOf(projection, events);
    if (selections.keys.length + selections.groups.length === 0) continue;
    const standing = await loadRows(db, projection, generation, selections);
    await saveRows(db, projection, generation, foldPage(projection, standing, events));
  }
}
