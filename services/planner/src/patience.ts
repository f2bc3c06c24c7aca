/**
 * Asks patiently: a fault that may mend is met by asking again some times, and one that does not mend ends as a refusal that
 * says everything that was seen. What is returned is always an answer that can be recorded.
 */
import { AssertionError } from 'node:assert';
import { setTimeout as pause } from 'node:timers/promises';
import { describeError, Fault, isPermanent, type Refusal, type Result, refuse } from '@backhaul/kernel';

export interface Patience {
  readonly attempts: number;
  readonly firstDelayMilliseconds: number;
}

/** About six seconds in all, if every attempt fails at once. */
export const usualPatience: Patience = { attempts: 6, firstDelayMilliseconds: 200 };

export interface Question<T> {
  /** As the beginning of a sentence: "Inspecting VM web-1 on host lab". */
  readonly doing: string;
  ask(): Promise<Result<T>>;
  /** Of a refusal when what failed has no code of its own. */
  readonly otherwise: string;
  /** Of a refusal that has none of its own. */
  readonly wayOut: string;
}

export type OnFault = (error: unknown, attempt: number) => void;

/** Rejects only when the signal aborts (somebody else will ask), or when the program is wrong. */
export async function patiently<T>(
  question: Question<T>,
  signal: AbortSignal,
  onFault: OnFault,
  patience: Patience = usualPatience,
): Promise<Result<T>> {
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      const answer = await question.ask();
      return answer.ok ? answer : refuse({ wayOut: question.wayOut, ...answer.refusal });
    } catch (error) {
      if (error instanceof AssertionError || signal.aborted) throw error;
      onFault(error, attempt);
      if (isPermanent(error)) return refuse(failed(question, error));
      if (attempt >= patience.attempts) return refuse(failed(question, error, attempt));
    }
    await pause(patience.firstDelayMilliseconds * 2 ** (attempt - 1), undefined, { signal });
  }
}

function failed({ doing, otherwise, wayOut }: Question<unknown>, error: unknown, attempts?: number): Refusal {
  const tries = attempts === undefined ? '' : ` ${attempts} times`;
  return {
    code: codeOf(error) ?? otherwise,
    message: `${doing} failed${tries}: ${describeError(error)}.`,
    wayOut,
  };
}

/** The innermost code that is known: it names the cause and not what suffered from it. */
function codeOf(error: unknown): string | undefined {
  let code: string | undefined;
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof Fault && current.code !== undefined) code = current.code;
  }
  return code;
}
