/**
 * Has a freezer (freezer.ts) hold a guest, and watches over it: one that dies or takes too long is ended and made good for.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describeError, Fault, withDeadline } from '@backhaul/kernel';
import { endProcess, markOf, type ProcessMark } from '../processes.ts';
import { lastPart } from '../tool.ts';
import {
  COMMAND_MILLISECONDS,
  FreezeAnswer,
  type FreezeOrder,
  MONITOR_MILLISECONDS,
  Progress,
  THAW_MILLISECONDS,
} from './freeze-order.ts';

export const FREEZER = fileURLToPath(new URL('./freezer.ts', import.meta.url));
const START_MILLISECONDS = 30_000;
/** On top of a freezer's own deadlines, before it is taken for one that hangs. */
const GRACE_MILLISECONDS = 2_000;
/** `stop`, the first filter that does not go in, `cont`. */
const HOLD_MILLISECONDS = 3 * COMMAND_MILLISECONDS;
const END_MILLISECONDS = 10_000;

export interface Freezing {
  readonly order: FreezeOrder;
  /** Called when the freezer is up and before it may begin: from then on the guest may be found stopped or frozen. */
  readonly onReady: (freezer: ProcessMark) => Promise<void>;
  /** Called when the freezer ended without an answer, and surely runs no more. */
  readonly onLost: () => Promise<void>;
}

/** Throws a Fault when the filters did not all go in; the guest runs then as it ran before, some filters may be in. */
export async function freezeGuest({ order, onReady, onLost }: Freezing): Promise<FreezeAnswer> {
  const child = spawn(process.execPath, [FREEZER, order.monitor], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = lastPart(said + text);
  });
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve()).once('close', () => resolve());
  });
  child.stdin.on('error', () => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = (what: string, milliseconds: number): Promise<string> =>
    withDeadline(`${what} of ${order.vm}`, milliseconds + GRACE_MILLISECONDS, async () => {
      const next = await lines.next();
      if (next.done === true) throw new Fault(`The freezer of ${order.vm} ended: ${said.trim()}`);
      return next.value;
    });
  const expectLine = async (wanted: string, milliseconds: number): Promise<void> => {
    const found = await line(`"${wanted}" by the freezer`, milliseconds);
    if (found !== wanted) throw new Fault(`The freezer of ${order.vm} said "${found}", not "${wanted}"`);
  };
  const mark = child.pid === undefined ? undefined : await markOf(child.pid);
  let begun = false;
  try {
    await expectLine(Progress.ready, START_MILLISECONDS);
    if (mark === undefined) throw new Fault(`The freezer of ${order.vm} did not stay`);
    await onReady(mark);
    begun = true;
    child.stdin.write(`${JSON.stringify(order)}\n`);
    const { agentMilliseconds, freezeMilliseconds } = order;
    await expectLine(Progress.holding, MONITOR_MILLISECONDS + agentMilliseconds + freezeMilliseconds);
    await expectLine(Progress.letGo, HOLD_MILLISECONDS);
    const answer = await line('The thaw', THAW_MILLISECONDS);
    const { failure, ...rest } = FreezeAnswer.parse(JSON.parse(answer));
    if (failure !== null) throw new Fault(failure);
    return { ...rest, failure };
  } catch (cause) {
    if (mark !== undefined) await endProcess(`the freezer of ${order.vm}`, mark, 1000);
    if (begun) {
      await onLost().catch((error: unknown) => {
        throw new Fault(`${order.vm} may be left stopped: ${describeError(error)}`, { cause });
      });
    }
    throw new Fault(`Taking the point in time of ${order.vm} failed`, { cause, code: 'FreezeFailed' });
  } finally {
    child.stdin.end();
    await withDeadline(`The end of the freezer of ${order.vm}`, END_MILLISECONDS, () => ended);
  }
}
