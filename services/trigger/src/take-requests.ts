/** Requests for a backup or a recovery: decided, recorded and answered. The same request again changes nothing. */
import type { Answer, Origin } from '@backhaul/contracts';
import { type EventTransaction, untilAppended } from '@backhaul/event-store';
import { derivedId, fold, ok } from '@backhaul/kernel';
import { answerTo, idOf } from './core/answers.ts';
import { type RefuseRun, run, runStream } from './core/run.ts';
import { contentOf, runNameOf, type Wish } from './core/wish.ts';
import { appendsOf, type Cause, type Desk } from './subjects.ts';

/** A request that was understood. */
export async function takeRequest(
  desk: Desk,
  wish: Wish,
  origin: Origin,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Answer> {
  const { requestId } = wish.request;
  const name = runNameOf(wish);
  const context = {
    commandId: derivedId('RequestRun', name.purpose, requestId, contentOf(wish)),
    metadata: { ...cause, correlation: name.runId },
  };
  const answer = await untilAppended(transaction ?? desk.store, context, async () => {
    const { subjects, decision } = await desk.decideRequest(wish, origin, transaction);
    if (!decision.ok) return decision;
    return ok({
      appends: appendsOf(subjects, decision.value),
      onAppended: async (_, duplicate): Promise<Answer> => {
        const state = duplicate
          ? (await desk.runs.load(subjects.runStream, transaction)).state
          : fold(run.evolve, subjects.run.state, decision.value.run);
        return answerTo(requestId, name, state);
      },
    });
  });
  if (answer.ok) return answer.value;
  // The id belongs to another request, and so does its stream: this one is kept on a stream of its own.
  const refused = {
    purpose: name.purpose,
    runId: derivedId(name.purpose, requestId, contentOf(wish)),
    origin,
    refusal: answer.refusal,
    request: JSON.stringify(wish.request),
  };
  return await keepRefused(desk, refused, cause, transaction);
}

/** Keeps what was asked and why it will not be done. */
export async function keepRefused(
  desk: Desk,
  refused: Omit<RefuseRun, 'refusedAt'>,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Answer> {
  const { purpose, runId, origin, refusal } = refused;
  await desk.runs.execute(
    runStream(purpose, runId),
    { type: 'Refuse', ...refused, refusedAt: desk.now() },
    { commandId: derivedId('RefuseRun', purpose, runId), metadata: { ...cause, correlation: runId } },
    transaction,
  );
  return { requestId: origin.requestId, outcome: 'refused', ...idOf(refused), refusal };
}
