/**
 * What a freezer is asked to do, and what it answers: one JSON line each, on its standard input and output. (It imports little: a
 * freezer is started for every snapshot.)
 */
import { z } from 'zod';

export const FreezeOrder = z.object({
  /** For people: "VM web of host lab". */
  vm: z.string(),
  monitor: z.string(),
  /** The guest agent's channel; null: there is none. */
  agent: z.string().nullable(),
  agentMilliseconds: z.int().positive(),
  freezeMilliseconds: z.int().positive(),
  /** Hold the guest while the filters go in: needed for more than one disk, because they go in one after the other. */
  stop: z.boolean(),
  /** What each device reads and writes from then on. */
  insertions: z.array(z.object({ device: z.string(), node: z.string() })),
});
export type FreezeOrder = z.infer<typeof FreezeOrder>;

export const FreezeAnswer = z.object({
  takenAt: z.string(),
  pauseMilliseconds: z.number(),
  consistency: z.object({ level: z.enum(['filesystem', 'crash']), reason: z.string() }),
  /** The guest's file systems may still be frozen: it has not confirmed the thaw. */
  thawOwed: z.boolean(),
  /** Why not every filter went in; null: they all did. */
  failure: z.string().nullable(),
});
export type FreezeAnswer = z.infer<typeof FreezeAnswer>;

/**
 * What a freezer says on its way, a line each: it is up and has touched nothing, and goes to work when it gets its order; it holds
 * the guest from now on; it has let it go. The answer is the last line.
 */
export const Progress = { ready: 'ready', holding: 'holding', letGo: 'let go' } as const;

/** How long a freezer waits for the monitor. */
export const MONITOR_MILLISECONDS = 5_000;
/** For `stop`, for each filter and for `cont`: QEMU waits for the guest's requests in flight. */
export const COMMAND_MILLISECONDS = 5_000;
/** How long a guest that froze late is given to confirm its thaw before that is left to others. */
export const THAW_MILLISECONDS = 10_000;
