/**
 * The snapshots that there are: those with notes, and those that only show in a VM, because the notes were lost. Looking also
 * lets go of guests that a crash has left held (rescue.ts).
 */
import type { Observation } from '../host.ts';
import { sight } from '../sighting.ts';
import { diskOfExport } from './node-names.ts';
import { rescueAbandoned } from './rescue.ts';
import { exportIds } from './vm-exports.ts';
import type { VmSite } from './vm-site.ts';
import { whyNotStanding } from './vm-snapshot-health.ts';
import type { VmSnapshotState } from './vm-snapshot-state.ts';

type Observed = Observation['snapshots'][number];
/** Does it only if nobody is at work at the VM, and keeps others from it meanwhile. */
type WhenFree = (vmId: string, work: () => Promise<void>) => Promise<unknown>;

export async function observeSnapshots(site: VmSite, whenFree: WhenFree): Promise<Observed[]> {
  const known = await site.states.all();
  const observed = await Promise.all(known.map((state) => observe(site, state, whenFree)));
  const ids = new Set(known.map(({ snapshotId }) => snapshotId));
  const strays = await Promise.all((await site.vms.list()).map((vmId) => straysIn(site, vmId, ids)));
  return [...observed, ...strays.flat()];
}

async function observe(site: VmSite, state: VmSnapshotState, whenFree: WhenFree): Promise<Observed> {
  const { snapshotId, vmId, freezer, thawOwed } = state;
  const seen = await sight(async () => {
    if (freezer !== null || thawOwed) await whenFree(vmId, () => rescue(site, snapshotId));
    return await whyNotStanding(site, state);
  });
  return { snapshotId, vmId, ...seen };
}

async function rescue({ states, vms }: VmSite, snapshotId: string): Promise<void> {
  const state = await states.read(snapshotId);
  if (state === undefined) return;
  const rescued = await rescueAbandoned(vms, state);
  const isNews = rescued.freezer !== state.freezer || rescued.thawOwed !== state.thawOwed;
  if (isNews) await states.write(rescued);
}

/** A VM that cannot be asked now has no strays that could be named. */
async function straysIn(site: VmSite, vmId: string, known: ReadonlySet<string>): Promise<Observed[]> {
  const ids = await site.vms.tell(vmId, exportIds).catch(() => []);
  const strays = new Set(ids.map((id) => diskOfExport(id)?.snapshotId).filter((id) => id !== undefined));
  return [...strays.difference(known)].map((snapshotId) => ({
    snapshotId,
    vmId,
    state: 'gone',
    detail: `${site.vms.nameOf(vmId)} serves it, and there are no notes about it`,
  }));
}
