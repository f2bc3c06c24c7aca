/**
 * The point in time of a running VM, in this order, each step recorded before it is done:
 *  1. the disks are looked at: what cannot be backed up without harm is refused while nothing has been touched;
 *  2. scratch files, the filters (beside the guest's path), and the bitmaps that are the next checkpoints;
 *  3. a freezer puts the filters in: that is the instant, and the only time at which the guest stands still;
 *  4. what the parents' bitmaps held is copied, the frozen disks are exported, and the state says that the snapshot stands.
 * Whatever fails in between is taken out again; a caller that died is found out by the next one, which starts afresh.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exportUri, type SnapshotDisk } from '@backhaul/contracts';
import { describeError, Fault, hasCode, ok, type Result, refuse } from '@backhaul/kernel';
import { checkpointOf, type Judgement } from '../directory/change-tracking.ts';
import type { Snapshot, SnapshotOrder } from '../host.ts';
import { changedContextOf } from '../measure-export.ts';
import type { QmpClient } from '../qmp.ts';
import { disksSilent, sight } from '../sighting.ts';
import { runTool } from '../tool.ts';
import { copyBitmap, judge, startCheckpoints } from './checkpoints.ts';
import { addAccess, prepareFilter } from './freeze-graph.ts';
import { freezeGuest } from './freeze-guest.ts';
import type { FreezeAnswer } from './freeze-order.ts';
import { exportIdOf, exportNameOf, frozenBitmapOf } from './node-names.ts';
import { diskDetectingZeroes } from './quirks.ts';
import { withdraw } from './release-vm-snapshot.ts';
import { RunState, rescueGuest, rescueSnapshot } from './rescue.ts';
import { disksOf, type VmDisk } from './vm-disks.ts';
import { addExports } from './vm-exports.ts';
import { nbdEndpointAt, type VmSite } from './vm-site.ts';
import { whyNotStanding } from './vm-snapshot-health.ts';
import type { VmSnapshotState } from './vm-snapshot-state.ts';

interface Ordered {
  readonly disk: VmDisk;
  readonly order: SnapshotOrder['disks'][number];
}

const TOOL_MILLISECONDS = 60_000;

export async function takeVmSnapshot(site: VmSite, order: SnapshotOrder): Promise<Result<Snapshot>> {
  const { states, vms } = site;
  const known = await states.read(order.snapshotId);
  if (known !== undefined && known.releasing !== null) {
    throw new Fault(`Snapshot ${order.snapshotId} is being given back already`, {
      permanent: true,
      code: 'SnapshotReleasing',
    });
  }
  if (known?.standing != null) {
    // One that does not answer now was taken all the same: whoever looks after it will say if it is lost.
    await requireStanding(site, known).catch((error: unknown) => {
      if (!hasCode(error, 'DisksSilent')) throw error;
    });
    return ok(known.standing);
  }
  const there = await vms.require(order.vmId);
  if (!there.ok) return there;
  await requireNoOther(site, order);
  // An attempt that did not get to its end: nobody was told of its instant.
  if (known !== undefined) await withdraw(site, await rescueSnapshot(vms, states, known), 'discarded');

  const prepared = await vms.tell(order.vmId, (qmp) => lookBefore(qmp, order));
  if (!prepared.ok) return prepared;
  const { ordered, running } = prepared.value;
  let state = stateBefore(site, order, ordered, running);
  await states.write(state);
  try {
    const filters = await prepare(site, state, ordered);
    const answer = await freeze(site, state, filters, async (changed) => {
      state = changed;
      await states.write(state);
    });
    const standing = await vms.tell(order.vmId, (qmp) => serve(site, qmp, state, ordered, answer));
    state = { ...state, standing };
    await states.write(state);
    return ok(standing);
  } catch (cause) {
    try {
      // First of all the guest: notes about one that may still be held are not forgotten.
      await withdraw(site, await rescueSnapshot(vms, states, state), 'discarded');
    } catch (error) {
      throw new Fault(`Undoing the snapshot failed too: ${describeError(error)}`, { cause });
    }
    throw cause;
  }
}

/** Throws a permanent Fault with code `SnapshotLost` when what stands is not the instant any more; `DisksSilent` when nobody can say. */
export async function requireStanding(site: VmSite, state: VmSnapshotState): Promise<void> {
  const seen = await sight(() => whyNotStanding(site, state));
  const what = `Snapshot ${state.snapshotId} of VM ${state.vmId}`;
  if (seen.state === 'alive') return;
  if (seen.state !== 'gone') throw disksSilent(what, seen);
  throw new Fault(`${what} is lost: ${seen.detail}`, {
    permanent: true,
    code: 'SnapshotLost',
  });
}

/** One at a time: two would fill two scratch files with the same bytes, and slow the guest twice. */
async function requireNoOther({ states }: VmSite, order: SnapshotOrder): Promise<void> {
  const other = (await states.all()).find(
    (state) => state.vmId === order.vmId && state.snapshotId !== order.snapshotId,
  );
  if (other === undefined) return;
  throw new Fault(
    `VM ${order.vmId} still has snapshot ${other.snapshotId}: it has to be released before ${order.snapshotId} can be taken`,
    { code: 'SnapshotStands' },
  );
}

async function lookBefore(
  qmp: QmpClient,
  order: SnapshotOrder,
): Promise<Result<{ ordered: Ordered[]; running: boolean }>> {
  const found = await disksOf(qmp, order.vmId);
  if (!found.ok) return found;
  const ordered: Ordered[] = [];
  for (const one of order.disks) {
    const disk = found.value.find(({ diskId }) => diskId === one.diskId);
    if (disk === undefined) {
      const there = found.value.map(({ diskId }) => diskId).join(', ');
      return refuse({
        code: 'ImageMissing',
        message: `VM ${order.vmId} has no disk ${one.diskId} any more. Its disks are: ${there}.`,
      });
    }
    if (disk.rootNode !== disk.node) {
      throw new Fault(`Disk ${one.diskId} of VM ${order.vmId} still has the filter of another snapshot`, {
        code: 'SnapshotStands',
      });
    }
    ordered.push({ disk, order: one });
  }
  const detects = diskDetectingZeroes(
    qmp.version,
    order.vmId,
    ordered.map(({ disk }) => disk),
  );
  if (detects !== undefined) return refuse(detects);
  const { status } = await qmp.execute('query-status', { reply: RunState });
  return ok({ ordered, running: status === 'running' });
}

function stateBefore(
  site: VmSite,
  { snapshotId, vmId }: SnapshotOrder,
  ordered: readonly Ordered[],
  running: boolean,
): VmSnapshotState {
  const disks = ordered.map(({ disk }) => ({
    diskId: disk.diskId,
    sizeBytes: disk.sizeBytes,
    scratch: disk.readOnly
      ? null
      : join(site.scratchFolder, `${exportNameOf({ snapshotId, diskId: disk.diskId })}.qcow2`),
    checkpoint: disk.readOnly ? null : checkpointOf(snapshotId, disk.diskId),
  }));
  // One filter goes in at one instant without anybody holding the guest. A guest that stands still already is left alone.
  const holds = running && disks.filter(({ scratch }) => scratch !== null).length > 1;
  const fresh = { freezer: null, thawOwed: false, standing: null, releasing: null };
  return { schema: 1, snapshotId, vmId, disks, holds, ...fresh };
}

interface Filter {
  readonly device: string;
  readonly node: string;
}

async function prepare(
  site: VmSite,
  state: VmSnapshotState,
  ordered: readonly Ordered[],
): Promise<{ filters: Filter[]; running: boolean }> {
  const { snapshotId, vmId } = state;
  await mkdir(site.scratchFolder, { recursive: true });
  for (const { scratch, sizeBytes } of state.disks) {
    if (scratch === null) continue;
    const args = ['create', '-q', '-f', 'qcow2', scratch, String(sizeBytes)];
    await runTool('qemu-img', args, { milliseconds: TOOL_MILLISECONDS });
  }
  return await site.vms.tell(vmId, async (qmp) => {
    const filters: Filter[] = [];
    const checkpoints: { disk: VmDisk; name: string }[] = [];
    for (const { disk } of ordered) {
      const noted = state.disks.find(({ diskId }) => diskId === disk.diskId);
      if (noted?.scratch == null) continue;
      const node = await prepareFilter(qmp, { snapshotId, diskId: disk.diskId }, disk, noted.scratch);
      filters.push({ device: disk.device, node });
      if (noted.checkpoint !== null) checkpoints.push({ disk, name: noted.checkpoint });
    }
    await startCheckpoints(qmp, checkpoints);
    const { status } = await qmp.execute('query-status', { reply: RunState });
    return { filters, running: status === 'running' };
  });
}

async function freeze(
  site: VmSite,
  state: VmSnapshotState,
  { filters, running }: { filters: readonly Filter[]; running: boolean },
  note: (state: VmSnapshotState) => Promise<void>,
): Promise<FreezeAnswer> {
  const { vmId, holds } = state;
  const { vms, agentMilliseconds, freezeMilliseconds } = site;
  let frozen = state;
  const answer = await freezeGuest({
    order: {
      vm: vms.nameOf(vmId),
      monitor: vms.monitorOf(vmId),
      // A guest that stands still cannot answer.
      agent: running ? await vms.agentOf(vmId) : null,
      agentMilliseconds,
      freezeMilliseconds,
      stop: holds && running,
      insertions: [...filters],
    },
    onReady: async (freezer) => {
      frozen = { ...state, freezer };
      await note(frozen);
    },
    onLost: async () => {
      await note(await rescueGuest(vms, frozen));
    },
  });
  await note({ ...frozen, freezer: null, thawOwed: answer.thawOwed });
  return answer;
}

async function serve(
  site: VmSite,
  qmp: QmpClient,
  state: VmSnapshotState,
  ordered: readonly Ordered[],
  { takenAt, pauseMilliseconds, consistency }: FreezeAnswer,
): Promise<NonNullable<VmSnapshotState['standing']>> {
  const { snapshotId } = state;
  const socketPath = site.vms.nbdSocketOf(state.vmId);
  const disks: SnapshotDisk[] = [];
  for (const { disk, order } of ordered) {
    const noted = state.disks.find(({ diskId }) => diskId === disk.diskId);
    const key = { snapshotId, diskId: disk.diskId };
    const judgement = judgementOf(disk, order);
    const usable = judgement?.state === 'usable';
    const bitmap = usable ? frozenBitmapOf(snapshotId) : null;
    // After the filter went in: what is written in between is marked as changed and read as it was.
    if (usable) await copyBitmap(qmp, disk, judgement.checkpoint, frozenBitmapOf(snapshotId));
    const node = noted?.scratch == null ? disk.node : await addAccess(qmp, key, disk);
    const served = {
      id: exportIdOf(key),
      name: exportNameOf(key),
      node,
      bitmap: bitmap === null ? null : { node: disk.node, name: bitmap },
    };
    await addExports(qmp, socketPath, [served]);
    disks.push({
      diskId: disk.diskId,
      sizeBytes: disk.sizeBytes,
      identity: disk.identity,
      kind: usable ? 'incremental' : 'full',
      fallbackReason: judgement?.state === 'unusable' ? judgement.reason : null,
      endpoint: exportUri(nbdEndpointAt(socketPath), exportNameOf(key)),
      changedContext: bitmap === null ? null : changedContextOf(bitmap),
      checkpoint: noted?.checkpoint ?? null,
      ...(disk.storage === undefined ? {} : { storage: disk.storage }),
    });
  }
  return { takenAt, pauseMilliseconds, consistency, disks };
}

/** Undefined when the plan wants a full. What it wants of a checkpoint is judged by what was there before the instant. */
function judgementOf(disk: VmDisk, order: Ordered['order']): Judgement | undefined {
  if (order.kind === 'full') return undefined;
  const { parentCheckpoint: checkpoint, parentIdentity: identity } = order;
  return judge(disk, identity === null ? null : { checkpoint, identity });
}
