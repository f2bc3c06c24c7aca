/**
 * Requests for a backup or a recovery: decided, recorded and answered. The same request again changes nothing, and is answered from where
 * the run stands by then.
 */
import { type Answer, type Event, type Origin, streamName } from '@backhaul/contracts';
import { type EventTransaction, untilAppended } from '@backhaul/event-store';
import { derivedId, fold, ok } from '@backhaul/kernel';
import { answerAtTheEnd, answerTo, idOf } from './core/answers.ts';
import { isNewsOfRuns } from './core/reactions.ts';
import { type RefuseRun, type RunName, run, runStream } from './core/run.ts';
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
      onAppended: async (events, duplicate): Promise<Answer> => {
        const state = duplicate
          ? (await desk.runs.load(subjects.runStream, transaction)).state
          : fold(run.evolve, subjects.run.state, decision.value.run);
        const isRepeated = duplicate || events.length === 0;
        // Over HTTP it is the console that tells how a run has ended.
        const end =
          isRepeated && origin.via === 'nats' ? await endOf(desk, name, requestId, transaction) : undefined;
        return end ?? answerTo(requestId, name, state);
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

/** The last answer, when the run has ended, for a requester who may have missed it. */
async function endOf(
  desk: Desk,
  { purpose, runId }: RunName,
  requestId: string,
  transaction: EventTransaction | undefined,
): Promise<Answer | undefined> {
  const reader = transaction ?? desk.store;
  for (const category of [purpose === 'backup' ? 'transfer' : 'export', 'plan'] as const) {
    const { events } = await reader.readStreamPage(streamName(category, runId));
    for (const event of events as readonly Event[]) {
      const answer = isNewsOfRuns(event) ? answerAtTheEnd(requestId, event) : undefined;
      if (answer !== undefined) return answer;
    }
  }
  return undefined;
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
