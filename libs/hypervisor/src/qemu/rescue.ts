/**
 * Lets a guest go that a freezer may have left stopped or frozen because it was killed in the middle. It is continued only when it ran before,
 * and thawed only as long as a thaw is owed; both are noted, so that nobody else's pause or freeze is undone afterwards.
 */
import { eventually } from '@backhaul/kernel';
import { z } from 'zod';
import { isRunning } from '../processes.ts';
import { GuestAgent } from './guest-agent.ts';
import type { VmFolder } from './vm-folder.ts';
import type { VmSnapshotState, VmSnapshotStates } from './vm-snapshot-state.ts';

export const RunState = z.object({ status: z.string() });

const AGENT_MILLISECONDS = 3_000;
/** A freezer has deadlines of its own; one that is past them all is not waited for. */
const FREEZER_MILLISECONDS = 60_000;

/** For a VM whose freezer is not at work. Returns the state as it is to be noted. */
export async function rescueGuest(folder: VmFolder, state: VmSnapshotState): Promise<VmSnapshotState> {
  const { vmId, holds, freezer } = state;
  // A VM that is gone is nobody's prisoner.
  if (!(await folder.isRunning(vmId))) return { ...state, freezer: null, thawOwed: false };
  // Once it is certain that it ran on, whoever paused it did so for a reason of his own.
  if (holds && freezer !== null) {
    await folder.tell(vmId, async (qmp) => {
      const { status } = await qmp.execute('query-status', { reply: RunState });
      if (status === 'paused') await qmp.execute('cont');
    });
  }
  return { ...state, freezer: null, thawOwed: await isThawOwed(await folder.agentOf(vmId)) };
}

async function isThawOwed(channel: string | null): Promise<boolean> {
  if (channel === null) return false;
  let agent: GuestAgent | undefined;
  try {
    agent = await GuestAgent.connect(channel, AGENT_MILLISECONDS);
    if (await agent.isFrozen(AGENT_MILLISECONDS)) await agent.thaw(AGENT_MILLISECONDS);
    return false;
  } catch {
    return true;
  } finally {
    agent?.close();
  }
}

/** For a snapshot whose freezing nobody saw through: waits for a freezer that is still at work, rescues, and notes that. */
export async function rescueSnapshot(
  folder: VmFolder,
  states: VmSnapshotStates,
  state: VmSnapshotState,
): Promise<VmSnapshotState> {
  const { freezer } = state;
  if (freezer !== null) {
    await eventually(
      `The end of the freezer of ${folder.nameOf(state.vmId)}`,
      FREEZER_MILLISECONDS,
      async () => ((await isRunning(freezer)) ? undefined : true),
    );
  }
  const rescued = await rescueAbandoned(folder, state);
  if (rescued !== state) await states.write(rescued);
  return rescued;
}

/** For whoever only looks: leaves alone what a freezer is at, and a guest that nothing is owed. Returns what is to be noted, as `rescueGuest`. */
export async function rescueAbandoned(folder: VmFolder, state: VmSnapshotState): Promise<VmSnapshotState> {
  const { freezer, thawOwed } = state;
  if (freezer === null ? !thawOwed : await isRunning(freezer)) return state;
  return await rescueGuest(folder, state);
}
