/**
 * How fast proxies have been, run by run: for a VM, for the storage that its disks lie on, and at all. Folded from the summaries that
 * closing runs leave (`ProxyThroughputObserved`), apart for backups, which read, and recoveries, which write.
 *
 * A figure is bytes per second and port. It says as much of the VM as of the proxy (its disks, its processor, what is zero), so what a
 * proxy did for others is worth nothing by itself: it is held against what all proxies did there. A proxy that was half as fast as the
 * mean for others is expected to be half as fast as the mean for this VM. One of which nothing is known is as fast as the mean.
 */
import type { EventData, Purpose } from '@backhaul/contracts';

/** A mean in which what was seen last counts most, and what moved little counts little. */
export interface Mean {
  readonly bytesPerSecond: number;
  readonly weight: number;
}

/** Of a VM, of a storage, or of the whole host: by proxy, over all proxies, and past them. */
export interface Speeds {
  mean: Mean | undefined;
  direct: Mean | undefined;
  readonly proxies: Map<string, Mean>;
}

export interface Throughput {
  readonly host: Speeds;
  readonly vms: Map<string, Speeds>;
  readonly storages: Map<string, Speeds>;
}

export interface Speed {
  readonly bytesPerSecond: number;
  /** Undefined: nothing is known of the proxy, and the mean stands for it. */
  readonly from: 'vm' | 'storage' | 'proxy' | undefined;
}

/** How much of what was known counts still beside a new summary. */
const OLD_SHARE = 0.7;
/** A summary of so much has its full weight; one of less says as much less. */
const FULL_WEIGHT_BYTES = 64 * 1024 ** 2;
/** Moving less takes what connecting and asking take. */
const BYTES_MIN = 1024 ** 2;
/** The longest untouched are forgotten beyond so many. */
const VMS_MAX = 2_000;
const STORAGES_MAX = 64;
const PROXIES_PER_PLACE_MAX = 8;
const PROXIES_MAX = 512;

const noSpeeds = (): Speeds => ({ mean: undefined, direct: undefined, proxies: new Map() });
const noThroughput = (): Throughput => ({ host: noSpeeds(), vms: new Map(), storages: new Map() });
export const nothingKnown = (): Record<Purpose, Throughput> => ({
  backup: noThroughput(),
  recovery: noThroughput(),
});

export function learn(
  known: Record<Purpose, Throughput>,
  seen: EventData<'ProxyThroughputObserved'>,
  isGone: (proxyId: string) => boolean,
): void {
  if (seen.bytes < BYTES_MIN || seen.portSeconds === 0) return;
  const { host, vms, storages } = known[seen.purpose];
  learnAt(host, seen, PROXIES_MAX);
  const vm = touched(vms, seen.vmId, VMS_MAX);
  // That those which served it before are gone was worth saying until others had served it.
  for (const proxyId of vm.proxies.keys()) if (isGone(proxyId)) vm.proxies.delete(proxyId);
  learnAt(vm, seen, PROXIES_PER_PLACE_MAX);
  if (seen.storage !== null) learnAt(touched(storages, seen.storage, STORAGES_MAX), seen, PROXIES_MAX);
}

function learnAt(speeds: Speeds, seen: EventData<'ProxyThroughputObserved'>, proxiesMax: number): void {
  if (seen.mode === 'direct-to-host') {
    speeds.direct = together(speeds.direct, seen);
    return;
  }
  speeds.mean = together(speeds.mean, seen);
  const own = together(speeds.proxies.get(seen.proxyId), seen);
  speeds.proxies.delete(seen.proxyId);
  speeds.proxies.set(seen.proxyId, own);
  forgetOldest(speeds.proxies, proxiesMax);
}

function together(
  known: Mean | undefined,
  { bytes, portSeconds }: { readonly bytes: number; readonly portSeconds: number },
): Mean {
  const fresh = Math.min(1, bytes / FULL_WEIGHT_BYTES);
  const old = (known?.weight ?? 0) * OLD_SHARE;
  const sum = (known?.bytesPerSecond ?? 0) * old + (bytes / portSeconds) * fresh;
  return { bytesPerSecond: sum / (old + fresh), weight: old + fresh };
}

/** As the one touched last. */
function touched(places: Map<string, Speeds>, id: string, max: number): Speeds {
  const found = places.get(id) ?? noSpeeds();
  places.delete(id);
  places.set(id, found);
  forgetOldest(places, max);
  return found;
}

function forgetOldest(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return;
    map.delete(key);
  }
}

/** What a VM can expect of each proxy; undefined where nothing is known of any. */
export function speedsFor(
  { host, vms, storages }: Throughput,
  vmId: string,
  storage: string | null,
): (proxyId: string) => Speed | undefined {
  const vm = vms.get(vmId);
  const place = storage === null ? undefined : storages.get(storage);
  const base = (vm?.mean ?? place?.mean ?? host.mean)?.bytesPerSecond;
  if (base === undefined) return () => undefined;
  const scopes = [
    ['vm', vm],
    ['storage', place],
    ['proxy', host],
  ] as const;
  return (proxyId) => {
    for (const [from, scope] of scopes) {
      const own = scope?.proxies.get(proxyId);
      if (own === undefined || scope?.mean === undefined) continue;
      return { bytesPerSecond: (base * own.bytesPerSecond) / scope.mean.bytesPerSecond, from };
    }
    return { bytesPerSecond: base, from: undefined };
  };
}
