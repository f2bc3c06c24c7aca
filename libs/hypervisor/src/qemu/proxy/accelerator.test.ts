import { describe, expect, test } from 'vitest';
import { AcceleratorChoice } from './accelerator.ts';

/** A machine whose clock and whose KVM a test turns; `trials`: how often KVM was tried. */
function scene() {
  const machine = {
    time: 0,
    denied: undefined as string | undefined,
    failing: undefined as string | undefined,
  };
  let trials = 0;
  const choice = new AcceleratorChoice({
    now: () => machine.time,
    async openKvm() {
      if (machine.denied !== undefined) throw new Error(machine.denied);
    },
  });
  const choose = (name = 'appliance') =>
    choice.choose({
      name,
      doing: 'boot the appliance',
      async run() {
        trials += 1;
        if (machine.failing !== undefined) throw new Error(machine.failing);
      },
    });
  return { machine, choose, trials: () => trials };
}

const kvm = { accelerator: 'kvm', because: 'KVM could boot the appliance' };

describe('the accelerator', () => {
  test('is KVM where the trial succeeds, which is tried once for all', async () => {
    const { machine, choose, trials } = scene();
    expect(await Promise.all([choose(), choose()])).toEqual([kvm, kvm]);
    machine.time += 1e9;
    expect(await choose()).toEqual(kvm);
    expect(trials()).toBe(1);
  });

  test('is emulation, with the reason, where /dev/kvm cannot be opened; nothing is tried, and nothing remembered', async () => {
    const { machine, choose, trials } = scene();
    machine.denied = 'EACCES: permission denied';
    expect(await choose()).toEqual({
      accelerator: 'tcg',
      because: 'KVM cannot be used: EACCES: permission denied',
    });
    expect(trials()).toBe(0);
    machine.denied = undefined;
    expect(await choose()).toEqual(kvm);
    // And the other way round: a trial that succeeded says nothing about a device that is gone.
    machine.denied = 'ENOENT';
    expect((await choose()).accelerator).toBe('tcg');
  });

  test('is emulation for a minute when a trial fails, as on a busy machine, and is tried anew after that', async () => {
    const { machine, choose, trials } = scene();
    machine.failing = 'took longer than 10000 ms';
    const emulated = {
      accelerator: 'tcg',
      because: 'KVM could not boot the appliance: took longer than 10000 ms',
    };
    expect(await Promise.all([choose(), choose()])).toEqual([emulated, emulated]);
    machine.failing = undefined;
    machine.time += 59_999;
    expect(await choose()).toEqual(emulated);
    expect(trials()).toBe(1);
    machine.time += 1;
    expect(await choose()).toEqual(kvm);
    expect(trials()).toBe(2);
  });

  test('is tried with each thing apart: another appliance may do what the one before could not', async () => {
    const { machine, choose, trials } = scene();
    machine.failing = 'a panic';
    expect((await choose('old')).accelerator).toBe('tcg');
    machine.failing = undefined;
    expect((await choose('new')).accelerator).toBe('kvm');
    expect(trials()).toBe(2);
  });
});
