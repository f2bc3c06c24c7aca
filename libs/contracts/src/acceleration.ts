/** What a VM was started with, and why with that one: one that is emulated (tcg) is many times slower, and nothing else would say so. */
import { z } from 'zod';

export const Acceleration = z.object({
  accelerator: z.enum(['kvm', 'tcg']),
  /** For people. */
  because: z.string(),
});
export type Acceleration = z.infer<typeof Acceleration>;

/** To follow "it runs". */
export const accelerationWords = ({ accelerator, because }: Acceleration): string =>
  accelerator === 'kvm' ? 'with KVM' : `emulated, because ${because}`;
