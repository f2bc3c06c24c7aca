/**
 * A host without a hypervisor: it answers every question at once, from arithmetic, and keeps what it "started" in the memory of
 * its process. For measuring and simulating what decides (trigger, planner, pool) apart from what a real host costs. It has no
 * data: a child job that reads from it fails, so no restore point can ever come of it.
 */
import type { Inspection } from '@backhaul/contracts';
import { GiB, MiB, ok, type Result, refuse } from '@backhaul/kernel';
import type { HypervisorHost, Observation, Snapshot, SnapshotOrder } from '../host.ts';

const DISK_BYTES = 1 * GiB;
const NOWHERE = 'nbd+unix:///?socket=/nonexistent/simulated.sock';

/** `address`: how many VMs it has, named `vm1` to `vm<address>`, each with one full disk of 1 GiB. */
export function openSimulatedHost({ hostId, address }: { hostId: string; address: string }): HypervisorHost {
  const count = Number(address);
  const proxies = new Map<string, { snapshotId: string; diskId: string }[]>();
  const snapshots = new Map<string, string>();
  const has = (vmId: string): boolean => /^vm[1-9]\d*$/.test(vmId) && Number(vmId.slice(2)) <= count;

  return {
    hostId,
    kind: 'simulated',
    address,
    listVms: async () => Array.from({ length: count }, (_, index) => `vm${index + 1}`),
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
    attachDisk: async ({ proxyId, snapshotId, diskId }) => {
      const attached = proxies.get(proxyId) ?? [];
      if (!attached.some((each) => each.snapshotId === snapshotId && each.diskId === diskId)) {
        attached.push({ snapshotId, diskId });
      }
      return { exportName: `${snapshotId}.${diskId}` };
    },
    detachDisk: async ({ proxyId, snapshotId, diskId }) => {
      const attached = proxies.get(proxyId) ?? [];
      const index = attached.findIndex((each) => each.snapshotId === snapshotId && each.diskId === diskId);
      if (index >= 0) attached.splice(index, 1);
    },
    deactivateProxy: async (proxyId) => void proxies.delete(proxyId),
    openDirectEndpoint: async (snapshotId, streams) => ({
      ports: Array.from({ length: streams }, (_, port) => ({ port, endpoint: NOWHERE })),
      exportNameOf: { vda: `${snapshotId}.vda` },
    }),
    observe: async (): Promise<Observation> => ({
      proxies: [...proxies].map(([proxyId, attachments]) => ({
        proxyId,
        alive: true,
        detail: 'simulated',
        attachments: [...attachments],
      })),
      snapshots: [...snapshots].map(([snapshotId, vmId]) => ({
        snapshotId,
        vmId,
        alive: true,
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
