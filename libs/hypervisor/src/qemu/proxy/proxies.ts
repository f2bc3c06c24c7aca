/**
 * The proxy VMs of a qemu host: each is a QEMU process that runs the appliance (`infra/appliance`), with one virtio-serial
 * channel or one TCP port per port of the proxy, and disks hot-added to it over QMP: frozen ones to be read, and those of a VM to be, to be written.
 * - Everything is idempotent by ids; what is made outlives the caller and is found again by looking.
 * - No call waits for ever: a guest that does not answer makes a Fault, and its proxy is seen as lost from then on.
 */
import type { Acceleration, Port, ProxyCharacteristics, ProxyNetwork } from '@backhaul/contracts';
import type { Observation } from '../../host.ts';

export { openQemuProxies } from './open-proxies.ts';

export interface QemuProxiesOptions {
  readonly hostId: string;
  /** Everything of the proxies lies in `<stateDirectory>/<hostId>/proxies/<proxyId>/`. */
  readonly stateDirectory: string;
  /** Tried when not said: KVM if it boots the appliance, else emulation (TCG). */
  readonly accelerator?: 'kvm' | 'tcg';
  /** Where the appliance was built to: `vmlinuz`, `initramfs.cpio`, `appliance.json`. Without it none can be booted. */
  readonly applianceDirectory?: string | undefined;
  /** Where ports are reached over TCP. Without it they are virtio-serial channels, reached on this machine. */
  readonly network?: ProxyNetwork | undefined;
}

export interface DiskSource {
  /** Unix socket of the host's NBD server that serves the disk. */
  readonly socketPath: string;
  readonly exportName: string;
  readonly sizeBytes: number;
  readonly access: 'read-only' | 'writable';
}

export interface DiskOfProxy {
  readonly proxyId: string;
  /** The snapshot or the target that the disk is of. */
  readonly ownerId: string;
  readonly diskId: string;
}

/** What the appliance says of itself. */
export interface ProxyHealth {
  readonly uptimeSeconds: number;
  readonly memoryTotalBytes: number;
  readonly memoryAvailableBytes: number;
  /** One-minute load average of the guest. */
  readonly load: number;
  readonly ports: readonly {
    readonly port: number;
    /** A client is there, or was and has not gone yet after its server ended. */
    readonly open: boolean;
    /** Clients served since the start, this one included. */
    readonly sessions: number;
  }[];
  /** The last few errors that its servers reported, oldest first. */
  readonly errors: readonly string[];
}

export interface ObservedQemuProxy {
  /** As `Observation.proxies` wants it, and no key more. */
  readonly proxy: Observation['proxies'][number];
  /** Null when it does not answer. */
  readonly health: ProxyHealth | null;
  readonly accelerator: 'kvm' | 'tcg' | null;
}

export interface QemuProxies {
  /** Throws permanent Faults: `ApplianceMissing`, `SocketPathTooLong`, `ProxyNetworkMissing`, `ProxyNetworkUnusable`. Nothing but `activate` needs it. */
  requireBootable(): Promise<void>;
  /** Boots what does not run; resolves when the appliance is ready. A proxy that is not in time is ended and leaves nothing. */
  activate(order: {
    proxyId: string;
    ports: number;
    deadlineSeconds: number;
  }): Promise<{ ports: Port[]; characteristics: ProxyCharacteristics }>;
  /** Hot-adds the disk; resolves when the guest serves it, under `exportName`, at every port. */
  attach(order: DiskOfProxy & { source: DiskSource }): Promise<{ exportName: string }>;
  /**
   * Nobody can write the disk through this proxy any more when it resolves, and what was flushed is at its source. No such proxy, no
   * such disk: success.
   */
  detach(disk: DiskOfProxy): Promise<void>;
  /** No such proxy: success. */
  deactivate(proxyId: string): Promise<void>;
  observe(): Promise<ObservedQemuProxy[]>;
  /** Every proxy that there is, alive or not. */
  ids(): Promise<string[]>;
  /** What VMs that are started now run with, proxies and others, appliance or none (accelerator.ts). */
  accelerator(): Promise<Acceleration>;
  /** The build of the appliance that a proxy would be booted from now; throws where there is none. */
  appliance(): Promise<string>;
  close(): Promise<void>;
}
