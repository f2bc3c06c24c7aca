/**
 * Orders for a backup or a recovery that was asked for: cancel, pause, resume. Decided on what the log has of the run, recorded, and carried
 * out by those who hear of it. The same request again changes nothing.
 */
import { type Answer, type Event, streamName } from '@backhaul/contracts';
import { type EventTransaction, eventsOfRun, untilAppended } from '@backhaul/event-store';
import { derivedId, fold, ok, type Refusal, type Result } from '@backhaul/kernel';
import { answerTo } from './core/answers.ts';
import { whatIsInTheWay } from './core/in-the-way.ts';
import { type Run, type RunName, run, runStream } from './core/run.ts';
import type { Order } from './core/run-orders.ts';
import { cancelRun } from './core/turns.ts';
import { vm, vmStream } from './core/vm.ts';
import { appendsOf, type Cause, type Desk } from './subjects.ts';

export type Orders = RunName & { readonly requestId: string; readonly by: string; readonly reason: string };

/** `told`: the answer for whoever had asked for the run, when it is cancelled by this very call. */
export async function takeCancellation(
  desk: Desk,
  orders: Orders,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Result<{ readonly told: Answer | undefined }>> {
  const { purpose, runId } = orders;
  const context = {
    commandId: derivedId('CancelRun', purpose, runId),
    metadata: { ...cause, correlation: runId },
  };
  return await untilAppended<{ told: Answer | undefined }, Refusal>(
    transaction ?? desk.store,
    context,
    async () => {
      const known = await desk.runs.load(runStream(purpose, runId), transaction);
      const order = await orderOn(desk, orders, known.state, transaction);
      const waits = known.state.state === 'queued';
      const nowhere = { state: vm.initialState, version: 0 };
      const { hostId = '', vmId = '' } = 'asked' in known.state ? known.state.asked : {};
      const subjects = {
        runStream: runStream(purpose, runId),
        vmStream: vmStream(hostId, vmId),
        run: known,
        // Only one that waits has something to change at its VM.
        vm: waits ? await desk.vms.load(vmStream(hostId, vmId), transaction) : nowhere,
      };
      const decision = cancelRun(known.state, subjects.vm.state, order);
      if (!decision.ok) return decision;
      return ok({
        appends: appendsOf(subjects, decision.value),
        onAppended: () => {
          const state = fold(run.evolve, known.state, decision.value.run);
          // Of one that has started its requester hears when it has ended.
          const isOver = state.state === 'cancelled' && known.state.state === 'queued';
          return { told: isOver ? answerTo(state.asked.origin.requestId, orders, state) : undefined };
        },
      });
    },
  );
}

export async function takePauseOrResume(
  desk: Desk,
  type: 'Pause' | 'Resume',
  orders: Orders,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Result<void>> {
  const { purpose, runId, requestId } = orders;
  const stream = runStream(purpose, runId);
  const context = {
    commandId: derivedId(`${type}Run`, purpose, runId, requestId),
    metadata: { ...cause, correlation: runId },
  };
  return await untilAppended<void, Refusal>(transaction ?? desk.store, context, async () => {
    const { state, version } = await desk.runs.load(stream, transaction);
    const decision = run.decide(state, { type, ...(await orderOn(desk, orders, state, transaction)) });
    if (!decision.ok) return decision;
    const events = decision.value;
    const appends = events.length === 0 ? [] : [{ stream, expected: version, events }];
    return ok({ appends, onAppended: () => undefined });
  });
}

/** Only one that has started can have ended. */
async function orderOn(
  desk: Desk,
  { purpose, runId, by, reason }: Orders,
  state: Run,
  transaction: EventTransaction | undefined,
): Promise<Order> {
  const order = { purpose, runId, by, reason, at: desk.now() };
  if (state.state !== 'triggered') return order;
  const inTheWay = whatIsInTheWay(order, await wordsOfOthers(desk, order, state, transaction));
  return inTheWay === undefined ? order : { ...order, inTheWay };
}

/** The streams of other services are read as they stand: an order that is overtaken meanwhile is in vain, and harms nothing. */
async function wordsOfOthers(
  desk: Desk,
  { purpose, runId }: RunName,
  { asked }: Extract<Run, { state: 'queued' | 'triggered' }>,
  transaction: EventTransaction | undefined,
): Promise<Event[]> {
  const reader = transaction ?? desk.store;
  const said: Event[] = [];
  if (asked.purpose === 'recovery' && asked.instant !== undefined)
    for await (const event of eventsOfRun(desk.store, runId, 'TargetKept', 0)) said.push(event);
  const end = streamName(purpose === 'backup' ? 'transfer' : 'export', runId);
  for (const stream of [streamName('plan', runId), end])
    said.push(...((await reader.readStreamPage(stream)).events as readonly Event[]));
  return said;
}
