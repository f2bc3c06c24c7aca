/**
 * Which accelerator proxies run with. A /dev/kvm that exists, opens, and even runs a few instructions may still boot no
 * Linux (nested and emulated ones do that). So it is tried with what it is for: the appliance itself is booted, once.
 */
import { access, constants } from 'node:fs/promises';
import { describeError } from '@backhaul/kernel';
import type { ApplianceFiles } from './appliance-files.ts';

export type Accelerator = 'kvm' | 'tcg';

export interface ChosenAccelerator {
  readonly accelerator: Accelerator;
  /** For people. */
  readonly because: string;
}

/** Remembered for as long as this process lives: what the machine can do changes with its boot, not with ours. */
const tried = new Map<string, Promise<ChosenAccelerator>>();

/** `boot` boots the appliance with KVM and resolves when it is ready; it gives up by itself, and leaves nothing. */
export function chooseAccelerator(
  appliance: ApplianceFiles,
  boot: () => Promise<void>,
): Promise<ChosenAccelerator> {
  const known = tried.get(appliance.digest) ?? tryKvm(boot);
  tried.set(appliance.digest, known);
  return known;
}

async function tryKvm(boot: () => Promise<void>): Promise<ChosenAccelerator> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    return { accelerator: 'tcg', because: `KVM cannot be used: ${describeError(error)}` };
  }
  try {
    await boot();
    return { accelerator: 'kvm', because: 'KVM booted the appliance' };
  } catch (error) {
    return { accelerator: 'tcg', because: `KVM did not boot the appliance: ${describeError(error)}` };
  }
}
