/** The appliance as it was built: which kernel and which initramfs proxies boot. What is not whole is not booted. */
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { readState } from '../../state-file.ts';

const File = z.object({ file: z.string(), bytes: z.int(), sha256: z.string() });
const Appliance = z.object({
  schema: z.literal(1),
  kernel: File,
  initramfs: File,
  /** The same, as it is booted where it is there: an emulated guest takes a second to unpack the other. */
  unpacked: File.optional(),
  /** Its ports can be TCP ports; an earlier build did not know how. */
  networkPorts: z.boolean().default(false),
});

export interface ApplianceFiles {
  readonly kernel: string;
  readonly initramfs: string;
  readonly networkPorts: boolean;
  /** Tells one appliance from another. */
  readonly digest: string;
  /** The same, short enough for people. */
  readonly build: string;
}

/** Throws a permanent Fault, code `ApplianceMissing`, that says how to build it. */
export async function readAppliance(directory: string): Promise<ApplianceFiles> {
  const described = await readState(join(directory, 'appliance.json'), Appliance);
  if (described === undefined) throw missing(`There is no appliance for proxy VMs in ${directory}`);
  const booted = described.unpacked ?? described.initramfs;
  for (const { file, bytes } of [described.kernel, booted]) {
    const size = (await stat(join(directory, file)).catch(() => undefined))?.size;
    if (size !== bytes)
      throw missing(`${file} of the appliance in ${directory} is not the one it was built with`);
  }
  return {
    kernel: join(directory, described.kernel.file),
    initramfs: join(directory, booted.file),
    networkPorts: described.networkPorts,
    digest: `${described.kernel.sha256}.${booted.sha256}`,
    build: `${described.kernel.sha256.slice(0, 8)}.${described.initramfs.sha256.slice(0, 8)}`,
  };
}

/** Throws a permanent Fault, code `ApplianceMissing`, for an appliance of before there were ports on a network. */
export function requireNetworkPorts({ networkPorts, kernel }: ApplianceFiles): void {
  if (!networkPorts) throw missing(`The appliance in ${dirname(kernel)} is too old for ports on a network`);
}

const missing = (problem: string): Fault =>
  new Fault(`${problem}: build it with "node infra/appliance/src/build.ts --to DIR"`, {
    permanent: true,
    code: 'ApplianceMissing',
  });
