/**
 * The freezer: a process of its own that holds a guest still for as long as it takes to put the filters in, and lets it go
 * again, whatever happens to the process that asked for it. It is the only code that ever stops a guest.
 *
 *   file systems frozen (if an agent does it in time) -> stop -> filters in -> cont -> thawed
 *
 * - Whoever asked may be killed at any moment: an order that was given is carried out to its end, and signals are not heard.
 * - If this process is killed itself, the one who asked sees that at once and makes good (`rescue.ts`).
 * - Nothing else happens in it: the pause does not depend on how busy the asker is.
 */
import { createInterface } from 'node:readline';
import { describeError } from '@backhaul/kernel';
import { QmpClient } from '../qmp.ts';
import {
  COMMAND_MILLISECONDS,
  type FreezeAnswer,
  FreezeOrder,
  MONITOR_MILLISECONDS,
  Progress,
  THAW_MILLISECONDS,
} from './freeze-order.ts';
import { GuestAgent } from './guest-agent.ts';

const say = (line: string): boolean => process.stdout.write(`${line}\n`);

interface Quiesced {
  readonly agent: GuestAgent | undefined;
  readonly consistency: FreezeAnswer['consistency'];
}

async function quiesce(order: FreezeOrder): Promise<Quiesced> {
  const crash = (reason: string, agent?: GuestAgent): Quiesced => ({
    agent,
    consistency: { level: 'crash', reason },
  });
  if (order.agent === null) return crash(`${order.vm} has no guest agent`);
  let agent: GuestAgent;
  try {
    agent = await GuestAgent.connect(order.agent, order.agentMilliseconds);
  } catch (error) {
    return crash(describeError(error));
  }
  try {
    const count = await agent.freeze(order.freezeMilliseconds);
    const systems = count === 1 ? '1 file system' : `${count} file systems`;
    if (count === 0) return crash('the guest agent found no file system that it could freeze', agent);
    return {
      agent,
      consistency: { level: 'filesystem', reason: `the guest agent froze ${systems} for the instant` },
    };
  } catch (error) {
    // It may freeze yet: the thaw that follows waits in its channel behind the freeze.
    return crash(describeError(error), agent);
  }
}

async function insert(
  order: FreezeOrder,
  qmp: QmpClient,
): Promise<Pick<FreezeAnswer, 'takenAt' | 'pauseMilliseconds' | 'failure'>> {
  const milliseconds = COMMAND_MILLISECONDS;
  say(Progress.holding);
  const began = performance.now();
  let failure: string | null = null;
  let takenAt = '';
  try {
    if (order.stop) await qmp.execute('stop', { milliseconds });
    for (const { device, node } of order.insertions) {
      const args = { path: device, property: 'drive', value: node };
      await qmp.execute('qom-set', { arguments: args, milliseconds });
    }
    takenAt = new Date().toISOString();
  } catch (error) {
    failure = describeError(error);
  } finally {
    if (order.stop) await qmp.execute('cont', { milliseconds });
  }
  const pauseMilliseconds = Math.round((performance.now() - began) * 100) / 100;
  say(Progress.letGo);
  return { takenAt, pauseMilliseconds, failure };
}

async function freeze(order: FreezeOrder): Promise<FreezeAnswer> {
  // First of all the monitor: who has to wait for it must not keep a guest frozen meanwhile.
  const qmp = await QmpClient.connect({
    path: order.monitor,
    target: order.vm,
    connectMilliseconds: MONITOR_MILLISECONDS,
  });
  let quiesced: Quiesced | undefined;
  let thawOwed = false;
  try {
    quiesced = await quiesce(order);
    const inserted = await insert(order, qmp);
    qmp.close();
    thawOwed = await isThawOwed(quiesced.agent);
    return { ...inserted, consistency: quiesced.consistency, thawOwed };
  } finally {
    qmp.close();
    quiesced?.agent?.close();
  }
}

async function isThawOwed(agent: GuestAgent | undefined): Promise<boolean> {
  try {
    await agent?.thaw(THAW_MILLISECONDS);
    return false;
  } catch {
    return true;
  }
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPIPE'] as const) process.on(signal, () => undefined);
// Whoever asked may be gone: then nobody hears the answer.
process.stdout.on('error', () => undefined);
say(Progress.ready);
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await freeze(FreezeOrder.parse(JSON.parse(line)));
  say(JSON.stringify(answer));
  break;
}
process.exitCode = 0;
