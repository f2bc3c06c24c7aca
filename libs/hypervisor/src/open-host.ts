/** The door to hosts of every kind. */
import { Fault } from '@backhaul/kernel';
import { type DirectoryHostOptions, openDirectoryHost } from './directory/directory-host.ts';
import type { HypervisorHost } from './host.ts';
import { openQemuHost, type QemuHostOptions } from './qemu/qemu-host.ts';
import { openSimulatedHost } from './simulated/simulated-host.ts';

export interface HostOptions extends DirectoryHostOptions, QemuHostOptions {
  readonly kind: string;
}

/** Options of one kind mean nothing to the others. Throws a permanent Fault when the host cannot be opened as it is configured, saying what to change. */
export async function openHost(options: HostOptions): Promise<HypervisorHost> {
  if (options.kind === 'directory') return await openDirectoryHost(options);
  if (options.kind === 'qemu') return await openQemuHost(options);
  if (options.kind === 'simulated') return openSimulatedHost(options);
  throw new Fault(
    `Host ${options.hostId} is of kind "${options.kind}", and only "directory", "qemu" and "simulated" are known`,
    {
      permanent: true,
      code: 'HostKindUnknown',
    },
  );
}
