/** Waiting for a proxy VM that boots: until its appliance answers, its process ends, or the time is up. */
import { Fault } from '@backhaul/kernel';
import { askAppliance } from './control-channel.ts';
import { controlSocketOf, isVmRunning, lastWordsOf, type ProxyVm } from './proxy-vm.ts';

const BETWEEN_ATTEMPTS_MILLISECONDS = 20;

/** Throws a Fault that has what QEMU and the guest's console said last. */
export async function waitUntilReady(vm: ProxyVm, milliseconds: number): Promise<void> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const left = Math.max(1, end - Date.now());
    try {
      const target = `proxy ${vm.proxyId}`;
      const options = {
        ...{ path: controlSocketOf(vm), target, milliseconds: left },
        // A start waits for the answer, and most questions come too early.
        askAgainMilliseconds: 200,
      };
      await askAppliance(options, 'The appliance being ready', (report) => report.ports.length === vm.ports);
      return;
    } catch (error) {
      // The socket is not there in the first moments of the process.
      const early = error instanceof Fault && error.code === 'ControlLost' && (await isVmRunning(vm));
      if (!early || Date.now() >= end) {
        const gone = (await isVmRunning(vm)) ? 'it runs' : 'it has ended';
        throw new Fault(`Proxy ${vm.proxyId} is not ready (${gone}): ${await lastWordsOf(vm)}`, {
          cause: error,
          code: 'ProxyNotReady',
        });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_ATTEMPTS_MILLISECONDS));
  }
}
