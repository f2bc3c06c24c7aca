/**
 * How a service carries out a command: load the stream, fold it, decide, append at exactly that version; and when the
 * stream moved on meanwhile, all of it again. Deciders stay pure, and no caller writes this loop a second time.
 */
import type { Event, Recorded, StreamName } from '@backhaul/contracts';
import { type Decider, Fault, fold, ok, type Refusal, type Result } from '@backhaul/kernel';
import type {
  AppendContext,
  EventStore,
  EventTransaction,
  StreamAppend,
  StreamReader,
  VersionConflict,
} from './event-store.ts';

/** A stream folded up to a version. `version` is what an append must expect. */
export interface Loaded<State> {
  readonly state: State;
  readonly version: number;
}

export interface Executed<State, E extends Event> extends Loaded<State> {
  /** What was stored: empty when the command asked for nothing new. */
  readonly events: readonly (Recorded & E)[];
  /** True when this command had been carried out before: `events` are those of then. */
  readonly duplicate: boolean;
}

export interface CommandService<State, Command, E extends Event, R = Refusal> {
  /**
   * In a transaction of its own, or in the one given, of which it is the last statement. A refusal stores nothing.
   * Throws a retryable Fault (`Contention`) when the stream moved on again and again.
   */
  execute(
    stream: StreamName,
    command: Command,
    context: AppendContext,
    transaction?: EventTransaction,
  ): Promise<Result<Executed<State, E>, R>>;
  load(stream: StreamName, transaction?: EventTransaction): Promise<Loaded<State>>;
}

const ATTEMPTS = 12;

/**
 * Folded states of the `cachedStreams` streams used last are kept in memory, so that a stream that grows for months costs only
 * what is new in it. They are true up to their version, whoever appends: an exact version guards every decision. So a
 * decider's `evolve` must not change the state it is given.
 */
export function commandService<State, Command, E extends Event, R = Refusal>(
  store: EventStore,
  decider: Decider<State, Command, E, R>,
  options: { cachedStreams?: number } = {},
): CommandService<State, Command, E, R> {
  const cache = leastRecentlyUsed<StreamName, Loaded<State>>(options.cachedStreams ?? 256);

  const load = async (stream: StreamName, transaction?: EventTransaction): Promise<Loaded<State>> => {
    const reader: StreamReader = transaction ?? store;
    let { state, version } = cache.get(stream) ?? { state: decider.initialState, version: 0 };
    for (let more = true; more; ) {
      const page = await reader.readStreamPage(stream, version);
      state = fold(decider.evolve, state, page.events as unknown as readonly E[]);
      ({ version, more } = page);
    }
    // What a transaction has appended itself may still be rolled back.
    if (transaction?.hasAppended !== true) cache.set(stream, { state, version });
    return { state, version };
  };

  return {
    load,
    async execute(stream, command, context, transaction) {
      return await untilAppended(transaction ?? store, context, async () => {
        const loaded = await load(stream, transaction);
        const decision = decider.decide(loaded.state, command);
        if (!decision.ok) return decision;
        const appends = [{ stream, expected: loaded.version, events: decision.value }];
        return ok({
          appends: decision.value.length === 0 ? [] : appends,
          // Shorter than it was: the database went back to an earlier state (a backup of it, a late replica).
          onConflict: ({ actual }) => {
            if (actual < loaded.version) cache.delete(stream);
          },
          onAppended: async (recorded, duplicate): Promise<Executed<State, E>> => {
            const events = recorded as unknown as readonly (Recorded & E)[];
            if (duplicate) return { ...(await load(stream, transaction)), events, duplicate };
            const after = {
              state: fold(decider.evolve, loaded.state, events),
              version: loaded.version + events.length,
            };
            if (transaction === undefined) cache.set(stream, after);
            else transaction.onCommitted(() => cache.set(stream, after));
            return { ...after, events, duplicate };
          },
        });
      });
    },
  };
}

/** What to append, and what to answer once it is. No appends: nothing is to change, and the answer holds as it is. */
export interface Decision<T> {
  readonly appends: readonly StreamAppend[];
  onAppended(events: readonly Recorded[], duplicate: boolean): T | Promise<T>;
  /** Before it is decided again. */
  onConflict?(conflict: VersionConflict): void;
}

/**
 * Decides and appends until the streams stand as they stood when they were loaded. For decisions over several streams:
 * load each with its command service, decide, and name all of them with the versions they were loaded at.
 */
export async function untilAppended<T, R>(
  log: EventStore | EventTransaction,
  context: AppendContext,
  decide: () => Promise<Result<Decision<T>, R>>,
): Promise<Result<T, R>> {
  let conflict = '';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const decision = await decide();
    if (!decision.ok) return decision;
    const { appends, onAppended, onConflict } = decision.value;
    if (appends.length === 0) return ok(await onAppended([], false));
    const result = await log.append(appends, context);
    if (result.ok) return ok(await onAppended(result.value.events, result.value.duplicate));
    onConflict?.(result.refusal);
    conflict = result.refusal.message;
  }
  throw new Fault(`Gave up after ${ATTEMPTS} attempts, because others were faster every time. ${conflict}`, {
    code: 'Contention',
  });
}

/** A Map keeps the order of insertion: what is used is put in again, so the oldest stands first. */
function leastRecentlyUsed<Key, Value>(capacity: number) {
  const entries = new Map<Key, Value>();
  return {
    get(key: Key): Value | undefined {
      const value = entries.get(key);
      if (value !== undefined) {
        entries.delete(key);
        entries.set(key, value);
      }
      return value;
    },
    delete: (key: Key): boolean => entries.delete(key),
    set(key: Key, value: Value): void {
      entries.delete(key);
      entries.set(key, value);
      if (entries.size > capacity) {
        for (const oldest of entries.keys()) {
          entries.delete(oldest);
          break;
        }
      }
    },
  };
}
