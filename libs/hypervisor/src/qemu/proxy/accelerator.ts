/**
 * Which accelerator VMs of ours run with, proxies and recovered ones. A /dev/kvm that exists, opens, and even runs a few instructions may
 * still boot no Linux (nested and emulated ones do that). So it is tried with what there is: the appliance is booted, or where there is none
 * a machine without a guest is made. A trial may fail because the machine was busy, so a failure is believed for a minute only; and why a
 * VM is emulated goes with the answer, because nobody would see it otherwise.
 */
import { access, constants } from 'node:fs/promises';
import type { Acceleration } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import { runTool } from '../../tool.ts';
import { QEMU } from '../qemu-process.ts';

export type Accelerator = Acceleration['accelerator'];

export interface Trial {
  /** Two of the same name have the same answer. */
  readonly name: string;
  /** What KVM did, or did not: "boot the appliance". */
  readonly doing: string;
  /** Tries KVM and resolves when it works; it gives up by itself, and leaves nothing. */
  run(): Promise<void>;
}

/** What is asked of the machine. */
interface Machine {
  /** Rejects where /dev/kvm cannot be used by us. */
  openKvm(): Promise<void>;
  /** Milliseconds. */
  now(): number;
}

const FAILURE_BELIEVED_MILLISECONDS = 60_000;
const BARE_TRIAL_MILLISECONDS = 10_000;

const thisMachine: Machine = {
  openKvm: () => access('/dev/kvm', constants.R_OK | constants.W_OK),
  now: () => performance.now(),
};

export class AcceleratorChoice {
  readonly #machine: Machine;
  /** One trial at a time of each name; `until`: how long its answer is believed. */
  readonly #tried = new Map<string, { readonly answer: Promise<Acceleration>; until: number }>();

  constructor(machine: Machine = thisMachine) {
    this.#machine = machine;
  }

  async choose(trial: Trial): Promise<Acceleration> {
    try {
      // Asked each time: it costs nothing, and rights and modules come and go.
      await this.#machine.openKvm();
    } catch (error) {
      return { accelerator: 'tcg', because: `KVM cannot be used: ${describeError(error)}` };
    }
    const known = this.#tried.get(trial.name);
    if (known !== undefined && this.#machine.now() < known.until) return await known.answer;
    const trying = { answer: tryKvm(trial), until: Number.POSITIVE_INFINITY };
    this.#tried.set(trial.name, trying);
    const answer = await trying.answer;
    if (answer.accelerator === 'tcg') trying.until = this.#machine.now() + FAILURE_BELIEVED_MILLISECONDS;
    return answer;
  }
}

/** Of this process: what boots with KVM once does so as long as the device can be opened. */
export const acceleratorHere = new AcceleratorChoice();

async function tryKvm({ doing, run }: Trial): Promise<Acceleration> {
  try {
    await run();
    return { accelerator: 'kvm', because: `KVM could ${doing}` };
  } catch (error) {
    return { accelerator: 'tcg', because: `KVM could not ${doing}: ${describeError(error)}` };
  }
}

/** For where there is no appliance to boot. */
export const bareTrial: Trial = {
  name: 'bare',
  doing: 'make a machine',
  run: () => makeBareMachine('kvm'),
};

/** A machine with a processor and no guest, which never runs. QEMU ends at once where the accelerator cannot be had. */
export async function makeBareMachine(accelerator: string): Promise<void> {
  const commands = ['qmp_capabilities', 'quit'].map((execute) => `${JSON.stringify({ execute })}\n`);
  await runTool(
    QEMU,
    [
      ...['-M', 'pc', '-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max', '-m', '16'],
      ...['-S', '-nodefaults', '-no-user-config', '-display', 'none', '-qmp', 'stdio'],
    ],
    { milliseconds: BARE_TRIAL_MILLISECONDS, input: commands.join('') },
  );
}
