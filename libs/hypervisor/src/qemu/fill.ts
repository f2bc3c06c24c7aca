/**
 * Fills the disks of a running VM from the mounts that it started from: in its own QEMU, which reads there what the guest has not written,
 * and writes it to the image behind the guest (block-stream). The guest runs on all the while, also when the image at the end lets go of the
 * mount. A disk that is copied lets go only once all of it is on stable storage: from then on nobody would look at the mount again.
 *
 * Nothing is remembered here. What is filled says the image; what is under way, the VM; that there is something to fill, the definition and
 * the notes: so it can be asked again by anybody at any time.
 */
import { describeError, Fault } from '@backhaul/kernel';
import { z } from 'zod';
import type { Filling, Observation } from '../host.ts';
import type { QmpClient } from '../qmp.ts';
import type { TargetState } from '../target-state.ts';
import type { VmDefinition } from './defined-vms.ts';
import { diskNode, mountNode } from './mounted-disk.ts';
import { endQemu } from './qemu-process.ts';
import { isVmRunning, processOf, startVm, statusOf } from './start-vm.ts';
import type { TargetSite } from './targets.ts';

/** What was written and not flushed goes to the disk, and a disk may be slow. */
const FLUSH_MILLISECONDS = 600_000;

const Jobs = z.array(
  z.object({
    device: z.string(),
    status: z.string(),
    offset: z.int(),
    len: z.int(),
    'io-status': z.string(),
  }),
);
type Job = z.infer<typeof Jobs>[number];
const Nodes = z.array(z.object({ 'node-name': z.string(), backing_file: z.string().optional() }));

/** Ids of jobs begin with a letter. */
const jobOf = (diskId: string): string => `fill-${diskId}`;

interface FilledDisk {
  readonly index: number;
  readonly diskId: string;
  /** `filled`: it stands alone. `copied`: all is read, and it has not let go of the mount. */
  readonly state: 'filled' | 'copied' | 'filling' | 'stopped';
  /** Of 1. */
  readonly share: number;
  readonly job: Job | undefined;
}

export async function fillTarget(
  site: TargetSite,
  { targetId, vmId, bytesPerSecond }: { targetId: string; vmId: string; bytesPerSecond: number | null },
): Promise<Filling> {
  const definition = await site.defined.read(vmId);
  if (definition?.targetId !== targetId) {
    throw new Fault(`Host ${site.hostId} has no VM ${vmId} of target ${targetId}`, {
      permanent: true,
      code: 'TargetUnknown',
    });
  }
  const state = await site.states.read(targetId);
  if (definition.mounts === undefined) return await standsAlone(site, definition, targetId, state);
  // One that powered itself off waits for its disks with its process.
  if (!(await isVmRunning(site, vmId))) await startVm(site, definition);
  const disks = await site.vms.tell(vmId, async (qmp) => {
    await fillOn(qmp, definition, bytesPerSecond);
    const looked = await lookAt(qmp, definition);
    if (looked.every((disk) => disk.state === 'filled')) await letGo(qmp, looked);
    return looked;
  });
  if (!disks.every((disk) => disk.state === 'filled'))
    return { ...progressOf(definition, state, disks), filled: false };

  const { mounts: _, ...whole } = definition;
  await site.defined.define(whole);
  return await standsAlone(site, definition, targetId, state);
}

async function standsAlone(
  site: TargetSite,
  { vmId }: VmDefinition,
  targetId: string,
  state: TargetState | undefined,
): Promise<Filling> {
  await endIfOff(site, vmId);
  if (state !== undefined) await site.states.forget(targetId);
  const totalBytes = state === undefined ? 0 : bytesOf(state);
  return { filledBytes: totalBytes, totalBytes, filled: true };
}

/** The process of a guest that powered itself off is there for the sake of its disks alone (start-vm.ts). */
async function endIfOff(site: TargetSite, vmId: string): Promise<void> {
  if ((await statusOf(site, vmId)) === 'shutdown') await endQemu(processOf(site, vmId));
}

/** Starts what is not being filled, and has what is copied stand alone. */
async function fillOn(
  qmp: QmpClient,
  definition: VmDefinition,
  bytesPerSecond: number | null,
): Promise<void> {
  for (const { index, diskId, state, job } of await lookAt(qmp, definition)) {
    const id = jobOf(diskId);
    if (state === 'copied') {
      const command = { 'command-line': `qemu-io ${diskNode(index)} flush` };
      const said = await qmp.execute('human-monitor-command', {
        arguments: command,
        reply: z.string(),
        milliseconds: FLUSH_MILLISECONDS,
      });
      // It says nothing when all is well.
      if (said.trim() !== '')
        throw new Fault(`Flushing disk ${diskId} of ${qmp.target} failed: ${said.trim()}`);
      await qmp.executeUntil('job-finalize', {
        arguments: { id },
        event: 'JOB_STATUS_CHANGE',
        matches: (data) => data.id === id && data.status === 'concluded',
        eventMilliseconds: FLUSH_MILLISECONDS,
        milliseconds: FLUSH_MILLISECONDS,
      });
    } else if (state === 'stopped' && job !== undefined) {
      await qmp.execute('block-job-resume', { arguments: { device: id } });
    } else if (state === 'stopped') {
      await qmp.execute('block-stream', {
        arguments: {
          'job-id': id,
          device: diskNode(index),
          // An error stops it and does not end it, and it ends without a trace: what is left of an ended one is fatal (quirks.ts).
          'on-error': 'stop',
          ...(bytesPerSecond === null ? {} : { speed: bytesPerSecond }),
          'auto-finalize': false,
          'auto-dismiss': true,
        },
      });
    }
  }
}

/** Nothing of the mounts is left in the VM, and it may end by itself again. */
async function letGo(qmp: QmpClient, disks: readonly FilledDisk[]): Promise<void> {
  const nodes = await qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Nodes });
  for (const { index } of disks) {
    const name = mountNode(index);
    if (nodes.some((node) => node['node-name'] === name))
      await qmp.execute('blockdev-del', { arguments: { 'node-name': name } });
  }
  await qmp.execute('set-action', { arguments: { shutdown: 'poweroff' } });
}

async function lookAt(qmp: QmpClient, { disks }: VmDefinition): Promise<FilledDisk[]> {
  const nodes = await qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Nodes });
  const jobs = await qmp.execute('query-block-jobs', { reply: Jobs });
  return disks.map(({ diskId }, index) => {
    const node = nodes.find((one) => one['node-name'] === diskNode(index));
    const job = jobs.find(({ device }) => device === jobOf(diskId));
    if (node !== undefined && node.backing_file === undefined)
      return { index, diskId, state: 'filled', share: 1, job };
    if (job === undefined || job['io-status'] !== 'ok')
      return { index, diskId, state: 'stopped', share: 0, job };
    const copied = job.status === 'pending';
    const share = job.offset / Math.max(1, job.len);
    return { index, diskId, state: copied ? 'copied' : 'filling', share: copied ? 1 : share, job };
  });
}

const bytesOf = ({ disks }: TargetState): number => disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

function progressOf(
  { disks }: VmDefinition,
  state: TargetState | undefined,
  looked: readonly FilledDisk[],
): { filledBytes: number; totalBytes: number } {
  const sizeOf = (diskId: string): number =>
    state?.disks.find((disk) => disk.diskId === diskId)?.sizeBytes ?? 0;
  const filled = looked.reduce((sum, { diskId, share }) => sum + Math.floor(share * sizeOf(diskId)), 0);
  const totalBytes = disks.reduce((sum, { diskId }) => sum + sizeOf(diskId), 0);
  // All of it is said only of disks that are all copied: it is what calls for the end.
  const copied = looked.every((disk) => disk.state === 'copied' || disk.state === 'filled');
  return { filledBytes: copied ? totalBytes : Math.min(filled, totalBytes - 1), totalBytes };
}

export async function observeFills(site: TargetSite): Promise<Observation['fills']> {
  const filling = (await site.states.all()).filter(({ phase }) => phase === 'filling');
  return await Promise.all(filling.map((state) => observeFill(site, state)));
}

async function observeFill(site: TargetSite, state: TargetState): Promise<Observation['fills'][number]> {
  const { targetId, vmId } = state;
  const totalBytes = bytesOf(state);
  const seen = (
    what: 'filling' | 'copied' | 'stopped' | 'unknown',
    detail: string,
    filledBytes = 0,
  ): Observation['fills'][number] => ({ targetId, vmId, state: what, filledBytes, totalBytes, detail });
  try {
    const definition = await site.defined.read(vmId);
    if (definition?.targetId !== targetId)
      return seen('stopped', `${site.vms.nameOf(vmId)} is defined no more`);
    if (definition.mounts === undefined) return seen('copied', '', totalBytes);
    if (!(await isVmRunning(site, vmId))) return seen('stopped', `${site.vms.nameOf(vmId)} has ended`);
    const disks = await site.vms.tell(vmId, (qmp) => lookAt(qmp, definition));
    const stopped = disks.find((disk) => disk.state === 'stopped');
    if (stopped !== undefined) return seen('stopped', whyStopped(stopped));
    const { filledBytes } = progressOf(definition, state, disks);
    return seen(filledBytes === totalBytes ? 'copied' : 'filling', '', filledBytes);
  } catch (error) {
    return seen('unknown', describeError(error));
  }
}

const whyStopped = ({ diskId, job }: FilledDisk): string =>
  job === undefined
    ? `disk ${diskId} is not being filled`
    : `filling disk ${diskId} failed: ${job['io-status'] === 'nospace' ? 'no space is left for its image' : 'its mount could not be read, or its image not written'}`;

/**
 * Refused while its guest runs: a Fault, code `VmRunning`. Its definition goes on naming the mounts: it is not whole, and says so to whoever
 * starts it.
 */
export async function leaveTarget(site: TargetSite, targetId: string, vmId: string): Promise<void> {
  const state = await site.states.read(targetId);
  if (state === undefined) return;
  const isOurs = (await site.defined.read(vmId))?.targetId === targetId;
  if (isOurs) await endIfOff(site, vmId);
  if (isOurs && (await isVmRunning(site, vmId)))
    throw new Fault(`${site.vms.nameOf(vmId)} still runs from its mounts`, { code: 'VmRunning' });
  await site.states.forget(targetId);
}
