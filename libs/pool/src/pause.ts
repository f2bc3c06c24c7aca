/**
 * Pausing a run, and what is said of a run before it is here.
 * The promise kept here: a paused run holds no port and keeps no proxy, so that others have them; it keeps its hold on disks, so the point
 * in time (or what is written already) stays; and no attempt is held against its child jobs. When it goes on proxies are chosen anew.
 */
import type { Event, Purpose } from '@backhaul/contracts';
import { type EarlyWord, type HostEvent, isInstant, type Pool, type Run } from './pool-state.ts';

export interface PauseOrResume {
  readonly type: 'PauseRun' | 'ResumeRun';
  readonly runId: string;
  readonly purpose: Purpose;
  /** Of the run's pauses and resumptions: news of them may come late and in any order, and the newest counts. */
  readonly number: number;
}

/** A run that is over, or that fills its disks by itself, goes on as it was. */
export function pauseOrResume(pool: Pool, command: PauseOrResume): HostEvent[] {
  const { type, runId, purpose, number } = command;
  const run = pool.runs.get(runId);
  const heard = run ?? pool.early.get(runId);
  if (heard !== undefined && heard.orders >= number) return [];
  const isOver = run === undefined ? pool.early.get(runId)?.ended === true : run.outcome !== undefined;
  if (isOver || (run !== undefined && isInstant(run))) return [];
  const data = { hostId: pool.hostId, runId, purpose, number };
  return [type === 'PauseRun' ? { type: 'RunPaused', data } : { type: 'RunResumed', data }];
}

/** The run is over. One that is not here has nothing to give back, and is kept from beginning. */
export function cancelRun(pool: Pool, runId: string, purpose: Purpose): HostEvent[] {
  const run = pool.runs.get(runId);
  const data = { hostId: pool.hostId, runId, purpose, outcome: 'cancelled' as const };
  if (run !== undefined) return run.outcome === undefined ? [{ type: 'RunEnding', data }] : [];
  return pool.early.get(runId)?.ended === true
    ? []
    : [{ type: 'RunClosed', data: { ...data, portSeconds: 0 } }];
}

export function changePause(pool: Pool, { type, data }: Event<'RunPaused' | 'RunResumed'>): void {
  const paused = type === 'RunPaused';
  const run = pool.runs.get(data.runId);
  if (run === undefined) {
    remember(pool, data.runId, { paused, orders: data.number, ended: false });
    return;
  }
  run.paused = paused;
  run.orders = data.number;
  if (paused) leaveProxies(pool, run);
}

function leaveProxies(pool: Pool, run: Run): void {
  for (const proxyId of run.chosen?.keys() ?? [])
    if (!run.at.has(proxyId)) pool.due.users.get(proxyId)?.delete(run.order.runId);
  run.chosen = undefined;
  run.choicesInRow = 0;
  run.shortfall = null;
  run.announced = false;
  for (const proxyId of run.at) {
    const state = pool.proxies.get(proxyId)?.state;
    // What a lost one holds is given back with it, and nobody waits for that.
    if (state === 'active' || state === 'requested') run.leaving.add(proxyId);
  }
}

/** None of its disks is left there. */
export function hasLeft(pool: Pool, run: Run, proxyId: string): void {
  run.at.delete(proxyId);
  run.leaving.delete(proxyId);
  if (run.chosen?.has(proxyId) !== true) pool.due.users.get(proxyId)?.delete(run.order.runId);
}

/** Takes up what was said of it before. */
export function heardBefore(pool: Pool, run: Run): void {
  const early = pool.early.get(run.order.runId);
  if (early === undefined) return;
  pool.early.delete(run.order.runId);
  run.orders = early.orders;
  run.paused = early.paused && !isInstant(run);
}

export const endedEarly = (pool: Pool, runId: string): void =>
  remember(pool, runId, { paused: false, orders: 0, ended: true });

/** A plan that comes so late that this many runs were spoken of since is of a run whose end everybody has forgotten. */
const WORDS_KEPT_MAX = 10_000;

function remember(pool: Pool, runId: string, word: EarlyWord): void {
  pool.early.delete(runId);
  pool.early.set(runId, word);
  if (pool.early.size <= WORDS_KEPT_MAX) return;
  for (const oldest of pool.early.keys()) {
    pool.early.delete(oldest);
    return;
  }
}
