/** One proxy as it is: by its process, its monitor and its appliance, each asked. */
import { type HealthReading, healthReadings } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import type { Turns } from '../../turns.ts';
import { askAppliance, type Report } from './control-channel.ts';
import { serialsIn } from './hot-add.ts';
import type { ObservedQemuProxy, ProxyHealth } from './proxies.ts';
import type { ProxyState, ProxyStates } from './proxy-state.ts';
import { boundConsole, controlSocketOf, isVmRunning, lastWordsOf, type ProxyVm, tellVm } from './proxy-vm.ts';

/** A guest that does not answer for so long does not serve either. */
const ANSWER_MILLISECONDS = 15_000;

export async function observeProxy(
  proxyId: string,
  states: ProxyStates,
  vmOf: (state: ProxyState) => ProxyVm,
  monitors: Turns,
): Promise<ObservedQemuProxy> {
  let accelerator: ObservedQemuProxy['accelerator'] = null;
  const notAlive = (detail: string): ObservedQemuProxy => ({
    proxy: { proxyId, alive: false, detail, attachments: [], readings: [] },
    health: null,
    accelerator,
  });
  try {
    const state = await states.read(proxyId);
    if (state === undefined) return notAlive('its activation did not get far enough to leave a state');
    accelerator = state.accelerator;
    const vm = vmOf(state);
    if (!(await isVmRunning(vm))) return notAlive(`its QEMU process is gone; ${await lastWordsOf(vm)}`);
    if (state.lost !== null) return notAlive(state.lost);
    if (!state.ready) return notAlive('its activation has not come to its end');
    await boundConsole(vm);
    const inQemu = await monitors.take(proxyId, () => tellVm(vm, serialsIn));
    const asked = performance.now();
    const report = await askAppliance(
      { path: controlSocketOf(vm), target: `proxy ${proxyId}`, milliseconds: ANSWER_MILLISECONDS },
      'A report',
      () => true,
    );
    const answerMilliseconds = Math.round(performance.now() - asked);
    return {
      ...seen(proxyId, state, inQemu, report, answerMilliseconds),
      health: healthOf(report),
      accelerator,
    };
  } catch (error) {
    return notAlive(describeError(error));
  }
}

/** Attached is what QEMU has and the guest serves; the rest is said. */
function seen(
  proxyId: string,
  state: ProxyState,
  inQemu: readonly string[],
  report: Report,
  answerMilliseconds: number,
): Pick<ObservedQemuProxy, 'proxy'> {
  const served = new Set(report.disks.map((disk) => disk.serial));
  const known = new Set(state.disks.map((disk) => disk.serial));
  const attached = state.disks.filter(({ serial }) => inQemu.includes(serial) && served.has(serial));
  const unserved = inQemu.filter((serial) => !served.has(serial));
  const unknown = inQemu.filter((serial) => !known.has(serial));
  const detail = [
    ...(unserved.length === 0 ? [] : [`attached and not served: ${unserved.join(', ')}`]),
    ...(unknown.length === 0 ? [] : [`attached by nobody we know: ${unknown.join(', ')}`]),
  ].join('; ');
  const attachments = attached.map(({ ownerId, diskId }) => ({ ownerId, diskId }));
  const readings = readingsIn(report, answerMilliseconds);
  return { proxy: { proxyId, alive: true, detail, attachments, readings } };
}

function readingsIn(report: Report, answerMilliseconds: number): HealthReading[] {
  const { memoryAvailableBytes, memoryTotalBytes, ports, load, crashesInMinute } = report;
  const failed = ports.filter(({ state }) => state === 'failed').length;
  return [
    {
      ...healthReadings.memoryAvailable,
      value: rounded((100 * memoryAvailableBytes) / Math.max(1, memoryTotalBytes)),
    },
    { ...healthReadings.serverCrashes, value: crashesInMinute },
    { ...healthReadings.portsFailed, value: rounded((100 * failed) / Math.max(1, ports.length)) },
    { ...healthReadings.load, value: rounded(load / Math.max(1, ports.length)) },
    { ...healthReadings.answer, value: answerMilliseconds },
  ];
}

const rounded = (value: number): number => Math.round(value * 10) / 10;

const healthOf = (report: Report): ProxyHealth => ({
  uptimeSeconds: report.uptimeSeconds,
  memoryTotalBytes: report.memoryTotalBytes,
  memoryAvailableBytes: report.memoryAvailableBytes,
  load: report.load,
  ports: report.ports.map(({ port, state, sessions }) => ({
    port,
    open: state === 'open' || state === 'ended',
    sessions,
  })),
  errors: report.errors,
});
