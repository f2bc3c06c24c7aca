/** The trial without a guest, by the real QEMU. */
import { describeError } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { AcceleratorChoice, bareTrial, makeBareMachine } from './accelerator.ts';

const bareWith = (accelerator: string) => makeBareMachine(accelerator).then(() => 'made', describeError);

test('a machine is made where the accelerator works, and QEMU says why where it does not', async () => {
  expect(await bareWith('tcg')).toBe('made');
  // Of another system: nowhere that this runs.
  expect(await bareWith('hvf')).toMatch(/failed: .*hvf/s);
});

test('a /dev/kvm that can be opened is not believed: emulation is chosen where no machine can be made with it', async () => {
  const openable = new AcceleratorChoice({ openKvm: async () => undefined, now: () => 0 });
  const made = await bareWith('kvm');
  expect(await openable.choose(bareTrial)).toEqual(
    made === 'made'
      ? { accelerator: 'kvm', because: 'KVM could make a machine' }
      : { accelerator: 'tcg', because: expect.stringMatching(/^KVM could not make a machine: .*kvm/is) },
  );
});
