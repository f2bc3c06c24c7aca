/**
 * Disks of a VM to be, on a qemu host: qcow2 images beside the VMs (defined-vms.ts), served by a daemon of their own (target-server.ts)
 * to proxies and to direct clients, and made a VM when they are whole. The steps of one VM come one after the other: that is the caller's
 * to see to.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { exportUri } from '@backhaul/contracts';
import { describeError, Fault, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import {
  endDaemon,
  isDaemonRunning,
  nbdEndpointOf,
  nbdSocketOf,
  requireSocketPath,
  type StorageDaemon,
} from '../directory/storage-daemon.ts';
import { droppedDisks } from '../dropped-disks.ts';
import type { Kept, Observation, Target, TargetOrder } from '../host.ts';
import { disksSilent, sight } from '../sighting.ts';
import { syncFolder } from '../state-file.ts';
import { withStorage } from '../storage-of.ts';
import { targetGone } from '../target-gone.ts';
import { bytesNeeded, bytesTaken, freeBytesIn, noSpace } from '../target-room.ts';
import {
  closeTarget,
  serveTarget,
  type TargetImage,
  targetExportOf,
  whyTargetNotServed,
} from '../target-server.ts';
import type { TargetState, TargetStates } from '../target-state.ts';
import { runTool } from '../tool.ts';
import type { VmDefinition } from './defined-vms.ts';
import { makeMountedImage } from './mounted-disk.ts';
import { endQemu } from './qemu-process.ts';
import { processOf, startVm, type VmStartSite } from './start-vm.ts';
import { nameTaken, unsupported } from './target-refusals.ts';

export interface TargetSite extends VmStartSite {
  readonly states: TargetStates;
  /** Takes disks of a target from every proxy that has them. */
  letGo(targetId: string, diskIds: readonly string[]): Promise<void>;
}

const TOOL_MILLISECONDS = 60_000;

const serverOf = ({ states }: TargetSite, targetId: string): StorageDaemon => ({
  what: `the server of target ${targetId}`,
  folder: states.folderOf(targetId),
  name: 'nbd',
  connectionsMax: 0,
});

const imagesOf = ({ defined }: TargetSite, { targetId, vmId, disks }: TargetState): TargetImage[] =>
  disks.map(({ diskId }) => ({
    targetId,
    diskId,
    path: defined.stagedDisk(vmId, targetId, diskId),
    format: 'qcow2',
  }));

/** Refused, or how much room there is. A target whose disks are there has its room already. */
export async function inspectTarget(
  site: TargetSite,
  order: TargetOrder,
): Promise<Result<{ freeBytes: number }>> {
  requireSocketPath(nbdSocketOf(serverOf(site, order.targetId)));
  const refusal = (await nameTaken(site, order)) ?? unsupported(order) ?? (await droppedDisksOf(site, order));
  if (refusal !== undefined) return refuse(refusal);
  const folder = await site.defined.nearestFolder();
  const freeBytes = await freeBytesIn(folder, await promisedToOthers(site, order.targetId));
  const made = (await site.states.read(order.targetId))?.phase === 'made';
  const lack = made ? undefined : noSpace(order.disks, freeBytes, folder);
  return lack === undefined ? ok({ freeBytes }) : refuse(lack);
}

async function droppedDisksOf({ defined }: TargetSite, order: TargetOrder): Promise<Refusal | undefined> {
  const replaced = await defined.read(order.vmId);
  return droppedDisks(order, replaced?.disks.map(({ diskId }) => diskId) ?? []);
}

async function promisedToOthers(site: TargetSite, targetId: string): Promise<number> {
  let promised = 0;
  for (const other of await site.states.all()) {
    if (other.targetId === targetId) continue;
    for (const disk of other.disks) {
      const { vmId, targetId: id, phase } = other;
      const path =
        phase === 'filling'
          ? await site.defined.diskOf(other, disk.diskId)
          : site.defined.stagedDisk(vmId, id, disk.diskId);
      const taken = await bytesTaken(path);
      promised += Math.max(0, bytesNeeded([disk]) - taken);
    }
  }
  return promised;
}

export async function createTarget(site: TargetSite, order: TargetOrder): Promise<Result<Target>> {
  const { targetId, vmId, disks, replace, machine, mounts } = order;
  const known = await site.states.read(targetId);
  if (known?.phase === 'discarding' || (await site.defined.read(vmId))?.targetId === targetId) {
    const fate = known?.phase === 'discarding' ? 'is being discarded' : `is VM ${vmId} already`;
    throw new Fault(`Target ${targetId} ${fate}`, { permanent: true, code: 'TargetUnknown' });
  }
  if (order.again === true && known?.phase !== 'made') return refuse(targetGone(site.hostId, order));
  const inspected = await inspectTarget(site, order);
  if (!inspected.ok) return inspected;
  const fresh: TargetState = {
    schema: 1,
    targetId,
    vmId,
    disks: disks.map(({ diskId, sizeBytes, bytesToWrite }) => ({ diskId, sizeBytes, bytesToWrite })),
    replace,
    machine,
    ...(mounts === undefined ? {} : { mounts }),
    phase: 'making',
  };
  if (known !== undefined) requireSame(known, fresh);
  let state = known ?? fresh;
  if (state.phase === 'making') {
    await site.states.write(state);
    await makeDisks(site, state);
    state = { ...state, phase: 'made' };
    await site.states.write(state);
  }
  // With mounts, what is written to the disks is written by the VM itself.
  if (state.mounts === undefined) await keepServed(site, state);
  const endpoint = nbdEndpointOf(serverOf(site, targetId));
  const where = await withStorage(site.defined.stagingOf(vmId, targetId));
  return ok({
    disks: state.disks.map(({ diskId, sizeBytes }) => ({
      ...where,
      diskId,
      sizeBytes,
      endpoint: state.mounts?.[diskId] ?? exportUri(endpoint, targetExportOf({ targetId, diskId })),
    })),
  });
}

function requireSame(known: TargetState, order: TargetState): void {
  const shape = ({ vmId, disks }: TargetState) =>
    JSON.stringify([vmId, disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes])]);
  if (shape(known) === shape(order)) return;
  throw new Fault(`Target ${known.targetId} is there already, of VM ${known.vmId} and with other disks`, {
    permanent: true,
    code: 'TargetDiffers',
  });
}

async function makeDisks(site: TargetSite, state: TargetState): Promise<void> {
  const { targetId, vmId, disks, mounts } = state;
  // Of an attempt that did not get to its end, and that nobody was told of.
  await endDaemon(serverOf(site, targetId));
  await site.defined.unstage(vmId, targetId);
  await mkdir(site.defined.stagingOf(vmId, targetId), { recursive: true });
  for (const [index, { path }] of imagesOf(site, state).entries()) {
    const { diskId = '', sizeBytes = 0 } = disks[index] ?? {};
    const mount = mounts?.[diskId];
    if (mount !== undefined) {
      await makeMountedImage(path, sizeBytes, mount);
      continue;
    }
    const args = ['create', '-q', '-f', 'qcow2', path, String(sizeBytes)];
    await runTool('qemu-img', args, { milliseconds: TOOL_MILLISECONDS });
  }
  await syncDisks(site, state);
}

async function syncDisks(site: TargetSite, state: TargetState): Promise<void> {
  for (const { path } of imagesOf(site, state)) {
    await using file = await open(path, 'r');
    await file.sync();
  }
  const staging = site.defined.stagingOf(state.vmId, state.targetId);
  for (const folder of [staging, `${staging}/..`, site.defined.path]) await syncFolder(folder);
}

/** Serves what is not served. Whoever was attached to a server that died is let go of first (target-server.ts says why). */
async function keepServed(site: TargetSite, state: TargetState): Promise<void> {
  const server = serverOf(site, state.targetId);
  if (!(await isDaemonRunning(server))) {
    await site.letGo(
      state.targetId,
      state.disks.map(({ diskId }) => diskId),
    );
  }
  await serveTarget(server, imagesOf(site, state));
}

/** The target as it stands and is served; or a Fault, with the code `TargetUnknown` when there is none. */
export async function standingTarget(site: TargetSite, targetId: string): Promise<TargetState> {
  const state = await site.states.read(targetId);
  if (state?.phase !== 'made') {
    throw new Fault(`Host ${site.hostId} has no target ${targetId}`, { code: 'TargetUnknown' });
  }
  const seen = await sight(() => whyTargetNotServed(serverOf(site, targetId), imagesOf(site, state)));
  const what = `Target ${targetId} of VM ${state.vmId}`;
  if (seen.state === 'alive') return state;
  if (seen.state !== 'gone') throw disksSilent(what, seen);
  throw new Fault(`${what} is not served: ${seen.detail}`, { code: 'TargetLost' });
}

export const socketOfTarget = (site: TargetSite, targetId: string): string =>
  nbdSocketOf(serverOf(site, targetId));
export const endpointOfTarget = (site: TargetSite, targetId: string): string =>
  nbdEndpointOf(serverOf(site, targetId));

export async function keepTarget(
  site: TargetSite,
  order: { targetId: string; vmId: string; start: boolean },
): Promise<Result<Kept>> {
  const { targetId, vmId, start } = order;
  const state = await site.states.read(targetId);
  if ((await site.defined.read(vmId))?.targetId !== targetId) {
    if (state?.phase !== 'made' || state.vmId !== vmId) {
      throw new Fault(`Host ${site.hostId} has no target ${targetId} that could be VM ${vmId}`, {
        permanent: true,
        code: 'TargetUnknown',
      });
    }
    const refusal = (await nameTaken(site, state)) ?? (await makeVm(site, state));
    if (refusal !== undefined) return refuse(refusal);
  }
  const definition = await site.defined.read(vmId);
  if (definition === undefined) throw new Fault(`The definition of VM ${vmId} is gone`);
  await site.defined.settle(definition);
  if (definition.mounts !== undefined) return await startFromMounts(site, definition, targetId, state);
  if (state !== undefined) await site.states.forget(targetId);
  if (!start) return ok({ started: false, notStarted: null });
  try {
    return ok({ started: true, notStarted: null, ...(await startVm(site, definition)) });
  } catch (error) {
    // The VM is whole. That it does not run is said, and does not undo it.
    return ok({ started: false, notStarted: describeError(error) });
  }
}

/** It is no whole VM: one that cannot be started would never be. */
async function startFromMounts(
  site: TargetSite,
  definition: VmDefinition,
  targetId: string,
  state: TargetState | undefined,
): Promise<Result<Kept>> {
  let running: Awaited<ReturnType<typeof startVm>>;
  try {
    running = await startVm(site, definition);
  } catch (error) {
    await removeVm(site, definition, targetId);
    if (state !== undefined) await site.states.forget(targetId);
    return refuse({
      code: 'VmNotStarted',
      message: `VM ${definition.vmId} could not be started from its mounts: ${describeError(error)}`,
      wayOut: 'Mend the cause named, or recover without an instant start.',
    });
  }
  if (state !== undefined) await site.states.write({ ...state, phase: 'filling' });
  return ok({ started: true, notStarted: null, ...running });
}

/** Of a VM that nobody was told of. */
async function removeVm(site: TargetSite, definition: VmDefinition, targetId: string): Promise<void> {
  const { vmId } = definition;
  await endQemu(processOf(site, vmId));
  await site.defined.undefine(definition, targetId);
  await site.defined.unstage(vmId, targetId);
  for (const socket of [site.vms.monitorOf(vmId), site.vms.agentSocketOf(vmId), site.vms.nbdSocketOf(vmId)])
    await rm(socket, { force: true });
}

/** Refused where the name is taken at the last moment. */
async function makeVm(site: TargetSite, state: TargetState): Promise<Refusal | undefined> {
  const { targetId, vmId, disks, machine, mounts } = state;
  await site.letGo(
    targetId,
    disks.map(({ diskId }) => diskId),
  );
  await closeTarget(serverOf(site, targetId), imagesOf(site, state));
  await syncDisks(site, state);
  // Closing and syncing take minutes where much was written: the VM that is replaced may have been started meanwhile.
  const taken = await nameTaken(site, state);
  if (taken !== undefined) return taken;
  const old = await site.defined.read(vmId);
  // One that took another's place and was not brought to its end: its disks must be where those of an old VM are looked for.
  if (old !== undefined) await site.defined.settle(old);
  await site.defined.define({
    schema: 1,
    vmId,
    targetId,
    machine,
    replaced: old?.disks.map(({ diskId }) => diskId) ?? [],
    ...(mounts === undefined ? {} : { mounts }),
    disks: disks.map(({ diskId }) => ({ diskId })),
  });
  return undefined;
}

export async function discardTarget(site: TargetSite, targetId: string, vmId: string): Promise<void> {
  const state = await site.states.read(targetId);
  const definition = await site.defined.read(vmId);
  if (definition?.targetId === targetId && definition.mounts !== undefined) {
    await removeVm(site, definition, targetId);
  } else if (definition?.targetId === targetId) {
    // It is a VM: only what is left of its making goes.
    await site.defined.settle(definition);
  } else if (state !== undefined) {
    await site.states.write({ ...state, phase: 'discarding' });
    await site.letGo(
      targetId,
      state.disks.map(({ diskId }) => diskId),
    );
    await endDaemon(serverOf(site, targetId));
    await site.defined.unstage(state.vmId, targetId);
  } else {
    for (const one of await site.defined.staged()) {
      if (one.targetId === targetId) await site.defined.unstage(one.vmId, targetId);
    }
  }
  await endDaemon(serverOf(site, targetId));
  if (state !== undefined) await site.states.forget(targetId);
}

export async function observeTargets(site: TargetSite): Promise<Observation['targets']> {
  const states = (await site.states.all()).filter(({ phase }) => phase !== 'filling');
  const known = await Promise.all(
    states.map(async (state): Promise<Observation['targets'][number] | undefined> => {
      const { targetId, vmId, phase } = state;
      if ((await site.defined.read(vmId).catch(() => undefined))?.targetId === targetId) return undefined;
      const look = async () =>
        phase === 'made' && state.mounts !== undefined
          ? undefined
          : phase === 'made'
            ? await whyTargetNotServed(serverOf(site, targetId), imagesOf(site, state))
            : `it is ${phase === 'making' ? 'not made yet' : 'being discarded'}`;
      return { targetId, vmId, ...(await sight(look)) };
    }),
  );
  const ids = new Set(states.map(({ targetId }) => targetId));
  const strays = (await site.defined.staged())
    .filter(({ targetId }) => !ids.has(targetId))
    .map((stray) => ({
      ...stray,
      state: 'gone' as const,
      detail: 'its disks are there, and there are no notes about it',
    }));
  return [...known.filter((one) => one !== undefined), ...strays];
}
