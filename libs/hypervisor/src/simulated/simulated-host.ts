/**
 * A host without a hypervisor: it answers every question at once, from arithmetic, and keeps what it "started" in the memory of
 * its process. For measuring and simulating what decides (trigger, planner, pool) apart from what a real host costs. It has no
 * data: a child job that reads from it or writes to it fails, so no restore point and no recovered VM can ever come of it.
 */
import type { Inspection } from '@backhaul/contracts';
import { Fault, GiB, MiB, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { HypervisorHost, Observation, Snapshot, SnapshotOrder, Target, TargetOrder } from '../host.ts';
import { withoutInstantRecovery } from '../no-instant.ts';
import { targetGone } from '../target-gone.ts';

const DISK_BYTES = 1 * GiB;
const NOWHERE = 'nbd+unix:///?socket=/nonexistent/simulated.sock';

/** `address`: how many VMs it has, named `vm1` to `vm<address>`, each with one full disk of 1 GiB. */
export function openSimulatedHost({ hostId, address }: { hostId: string; address: string }): HypervisorHost {
  const count = Number(address);
  const proxies = new Map<string, { ownerId: string; diskId: string }[]>();
  const snapshots = new Map<string, string>();
  const targets = new Map<string, TargetOrder>();
  /** VMs that recoveries made, and which. */
  const kept = new Map<string, string>();
  const has = (vmId: string): boolean =>
    kept.has(vmId) || (/^vm[1-9]\d*$/.test(vmId) && Number(vmId.slice(2)) <= count);
  const refusalOf = ({ targetId, vmId, replace }: TargetOrder): Refusal | undefined =>
    replace || !has(vmId) || targets.has(targetId)
      ? undefined
      : {
          code: 'VmExists',
          message: `Simulated host ${hostId} has a vm ${vmId} already.`,
          wayOut: 'Recover under another name, or ask to replace it.',
        };

  const { instant, ...noInstant } = withoutInstantRecovery('simulated');
  return {
    ...noInstant,
    hostId,
    kind: 'simulated',
    address,
    listVms: async () => [
      ...new Set([...Array.from({ length: count }, (_, index) => `vm${index + 1}`), ...kept.keys()]),
    ],
    inspect: async (vmId): Promise<Result<Inspection>> =>
      has(vmId)
        ? ok(inspectionOf(hostId, vmId))
        : refuse({
            code: 'VmUnknown',
            message: `Simulated host ${hostId} has no vm ${vmId}: it has vm1 to vm${count}.`,
          }),
    takeSnapshot: async ({ snapshotId, vmId, disks }: SnapshotOrder): Promise<Result<Snapshot>> => {
      snapshots.set(snapshotId, vmId);
      return ok({
        takenAt: new Date().toISOString(),
        pauseMilliseconds: 0,
        disks: disks.map(({ diskId }) => ({
          diskId,
          sizeBytes: DISK_BYTES,
          identity: identityOf(vmId),
          kind: 'full',
          fallbackReason: null,
          endpoint: NOWHERE,
          changedContext: null,
          checkpoint: null,
        })),
      });
    },
    releaseSnapshot: async (snapshotId) => void snapshots.delete(snapshotId),
    activateProxy: async ({ proxyId, ports }) => {
      if (!proxies.has(proxyId)) proxies.set(proxyId, []);
      return { ports: Array.from({ length: ports }, (_, port) => ({ port, endpoint: NOWHERE })) };
    },
    attachDisk: async ({ proxyId, ownerId, diskId }) => {
      const attached = proxies.get(proxyId) ?? [];
      if (!attached.some((each) => each.ownerId === ownerId && each.diskId === diskId)) {
        attached.push({ ownerId, diskId });
      }
      return { exportName: `${ownerId}.${diskId}` };
    },
    detachDisk: async ({ proxyId, ownerId, diskId }) => {
      const attached = proxies.get(proxyId) ?? [];
      const index = attached.findIndex((each) => each.ownerId === ownerId && each.diskId === diskId);
      if (index >= 0) attached.splice(index, 1);
    },
    deactivateProxy: async (proxyId) => void proxies.delete(proxyId),
    openDirectEndpoint: async (ownerId, streams) => ({
      ports: Array.from({ length: streams }, (_, port) => ({ port, endpoint: NOWHERE })),
      exportNameOf: Object.fromEntries(
        (targets.get(ownerId)?.disks ?? [{ diskId: 'vda' }]).map(({ diskId }) => [
          diskId,
          `${ownerId}.${diskId}`,
        ]),
      ),
    }),
    inspectTarget: async (order) => {
      const refusal = refusalOf(order);
      const modes = { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } };
      return refusal === undefined ? ok({ modes, instant, freeBytes: null }) : refuse(refusal);
    },
    createTarget: async (order): Promise<Result<Target>> => {
      const refusal = refusalOf(order);
      if (refusal !== undefined) return refuse(refusal);
      if (order.again === true && !targets.has(order.targetId)) return refuse(targetGone(hostId, order));
      targets.set(order.targetId, order);
      return ok({
        disks: order.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes, endpoint: NOWHERE })),
      });
    },
    keepTarget: async ({ targetId, vmId, start }) => {
      if (!targets.delete(targetId) && kept.get(vmId) !== targetId) {
        throw new Fault(`Simulated host ${hostId} has no target ${targetId}`, { code: 'TargetUnknown' });
      }
      kept.set(vmId, targetId);
      return ok({ started: false, notStarted: start ? 'a simulated VM cannot run' : null });
    },
    discardTarget: async (targetId) => void targets.delete(targetId),
    observe: async (): Promise<Observation> => ({
      fills: [],
      proxies: [...proxies].map(([proxyId, attachments]) => ({
        proxyId,
        state: 'alive',
        detail: 'simulated',
        attachments: [...attachments],
        readings: [],
      })),
      snapshots: [...snapshots].map(([snapshotId, vmId]) => ({
        snapshotId,
        vmId,
        state: 'alive',
        detail: 'simulated',
      })),
      targets: [...targets.values()].map(({ targetId, vmId }) => ({
        targetId,
        vmId,
        state: 'alive',
        detail: 'simulated',
      })),
    }),
    close: async () => undefined,
  };
}

const identityOf = (vmId: string) => ({ format: 'simulated', inode: vmId, sizeBytes: DISK_BYTES });

const inspectionOf = (hostId: string, vmId: string): Inspection => ({
  hostId,
  vmId,
  disks: [
    {
      diskId: 'vda',
      sizeBytes: DISK_BYTES,
      identity: identityOf(vmId),
      allocated: { bucketBytes: 4 * MiB, buckets: Array.from({ length: 256 }, () => 4 * MiB) },
      tracking: { state: 'unusable', code: 'NoParent', reason: 'a simulated disk has no change tracking' },
    },
  ],
  modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
});
