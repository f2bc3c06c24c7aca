/**
 * Lets a guest go that a freezer may have left stopped or frozen because it was killed in the middle. Doing it once more, or for
 * nothing, is harmless: a guest is continued only when it is paused, and only when it ran before.
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

/** For a VM whose freezer is not at work. Says whether the guest still owes the confirmation that it is thawed. */
export async function rescueGuest(
  folder: VmFolder,
  { vmId, holds }: Pick<VmSnapshotState, 'vmId' | 'holds'>,
): Promise<{ readonly thawOwed: boolean }> {
  // A VM that is gone is nobody's prisoner.
  if (!(await folder.isRunning(vmId))) return { thawOwed: false };
  if (holds) {
    await folder.tell(vmId, async (qmp) => {
      const { status } = await qmp.execute('query-status', { reply: RunState });
      if (status === 'paused') await qmp.execute('cont');
    });
  }
  return { thawOwed: await isThawOwed(await folder.agentOf(vmId)) };
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

/** For a snapshot whose freezing nobody saw through: waits for a freezer that is still at work, then rescues. */
export async function rescueSnapshot(
  folder: VmFolder,
  states: VmSnapshotStates,
  state: VmSnapshotState,
): Promise<VmSnapshotState> {
  const { freezer } = state;
  if (freezer === null && !state.thawOwed) return state;
  if (freezer !== null) {
    await eventually(
      `The end of the freezer of ${folder.nameOf(state.vmId)}`,
      FREEZER_MILLISECONDS,
      async () => ((await isRunning(freezer)) ? undefined : true),
    );
  }
  const { thawOwed } = await rescueGuest(folder, state);
  const rescued = { ...state, freezer: null, thawOwed };
  await states.write(rescued);
  return rescued;
}

/** As `rescueSnapshot`, but leaves alone what another process is at: for whoever only looks. */
export async function rescueAbandoned(folder: VmFolder, state: VmSnapshotState): Promise<void> {
  const { freezer, standing, thawOwed } = state;
  const abandoned = freezer !== null && standing === null && !(await isRunning(freezer));
  if (abandoned || thawOwed) await rescueGuest(folder, state);
}
