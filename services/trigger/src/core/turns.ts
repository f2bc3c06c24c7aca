/**
 * What happens to a backup or a recovery and to its VM's turn at the same time. The two streams are appended to in one append,
 * so neither can say something that the other does not: what was asked is triggered exactly when it is given the turn.
 */
import { fold, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { type Asked, type Run, type RunEvent, run } from './run.ts';
import type { Order } from './run-orders.ts';
import { type Vm, type VmCommand, type VmEvent, vm } from './vm.ts';
import { ask, type RequestRun, repeats, runNameOf } from './wish.ts';

export interface Change {
  readonly run: RunEvent[];
  readonly vm: VmEvent[];
}

const NOTHING: Change = { run: [], vm: [] };

/** Refused only when the id was used for another request: what is refused for any other reason is an event. */
export function requestRun(ofRun: Run, ofVm: Vm, wanted: RequestRun): Result<Change> {
  if (ofRun.state !== 'unknown') {
    return repeats(ofRun, wanted) ? ok(NOTHING) : refuse(requestIdReused(wanted.request.requestId));
  }
  const asked = ask(wanted);
  if (!asked.ok) return ok(refused(ofRun, wanted, asked.refusal));
  const turn = vm.decide(ofVm, { type: 'AskForTurn', asked: asked.value });
  return ok(
    turn.ok ? followTurn(ofRun, ofVm, asked.value, turn.value) : refused(ofRun, wanted, turn.refusal),
  );
}

/** Who starts when the news are noted: nobody, where they do not end the turn or nobody waits for it. */
export function nextAfter(ofVm: Vm, news: VmCommand): Asked | undefined {
  const noted = vm.decide(ofVm, news);
  const { turn, waiting } = noted.ok ? fold(vm.evolve, ofVm, noted.value) : ofVm;
  return turn === null ? waiting[0] : undefined;
}

/**
 * News about the run that has the turn. When they end it, the next in line, whose run `ofNext` must be (`nextAfter`), starts in the same
 * moment: a turn is never free while somebody waits for it.
 */
export function noteNews(ofVm: Vm, news: VmCommand, ofNext: Run): Result<Change> {
  const noted = vm.decide(ofVm, news);
  if (!noted.ok) return noted;
  const passed = passTurn(ofNext, fold(vm.evolve, ofVm, noted.value));
  return ok({ run: passed.run, vm: [...noted.value, ...passed.vm] });
}

function passTurn(ofNext: Run, ofVm: Vm): Change {
  const next = ofVm.waiting[0];
  if (next === undefined) return NOTHING;
  const { hostId, vmId } = next;
  const turn = vm.decide(ofVm, { type: 'PassTurn', of: { hostId, vmId } });
  return turn.ok ? followTurn(ofNext, ofVm, next, turn.value) : NOTHING;
}

/** One that waits leaves the line; one that has started keeps the turn until it has ended. */
export function cancelRun(ofRun: Run, ofVm: Vm, order: Order): Result<Change> {
  const cancelled = run.decide(ofRun, { type: 'Cancel', ...order });
  if (!cancelled.ok) return cancelled;
  if (cancelled.value.length === 0 || ofRun.state !== 'queued') return ok({ run: cancelled.value, vm: [] });
  const { hostId, vmId } = ofRun.asked;
  const left = vm.decide(ofVm, { type: 'LeaveLine', of: { hostId, vmId, runId: order.runId } });
  return left.ok ? ok({ run: cancelled.value, vm: left.value }) : left;
}

/** What the VM's news means for the run that they are about. */
function followTurn(ofRun: Run, ofVm: Vm, asked: Asked, news: VmEvent[]): Change {
  const commands = news.map((event) => {
    switch (event.type) {
      case 'VmClaimed':
        return run.decide(ofRun, { type: 'Trigger', asked, parent: ofVm.restorePoint });
      case 'VmAwaited':
        return run.decide(ofRun, { type: 'Queue', asked, behind: event.data.behind });
      default:
        return ok([]);
    }
  });
  return { run: commands.flatMap((decision) => (decision.ok ? decision.value : [])), vm: news };
}

function refused(ofRun: Run, wanted: RequestRun, refusal: Refusal): Change {
  const { origin, requestedAt: refusedAt } = wanted;
  const request = JSON.stringify(wanted.request);
  const decision = run.decide(ofRun, {
    type: 'Refuse',
    ...runNameOf(wanted),
    ...{ origin, refusal, request, refusedAt },
  });
  return { run: decision.ok ? decision.value : [], vm: [] };
}

const requestIdReused = (requestId: string): Refusal => ({
  code: 'RequestIdReused',
  message: `Request id ${requestId} was used before, for another request.`,
  wayOut: 'Give every request an id of its own, and repeat an id only to repeat its request unchanged.',
});
