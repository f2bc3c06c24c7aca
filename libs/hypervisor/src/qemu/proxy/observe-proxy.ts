/**
 * One proxy as it is: by its process, its monitor and its appliance, each asked. It is gone when its process is, or when we gave it up;
 * silent when it was asked and did not answer; unknown when others kept us from asking, or it from answering.
 */
import { type HealthReading, healthReadings } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import type { Turns } from '../../turns.ts';
import { askAppliance, type Report } from './control-channel.ts';
import { serialsIn } from './hot-add.ts';
import type { ObservedQemuProxy, ProxyHealth } from './proxies.ts';
import type { ProxyState, ProxyStates } from './proxy-state.ts';
import { boundConsole, controlSocketOf, isVmRunning, lastWordsOf, type ProxyVm, tellVm } from './proxy-vm.ts';

/** A guest that does not answer for so long may not serve either. */
const ANSWER_MILLISECONDS = 15_000;
/** So long others may converse with it first: hot-adds take their time, and a proxy that is busy with one is no worse for it. */
const BUSY_MILLISECONDS = 15_000;

/** One step at a time per proxy, and one conversation with its monitor and with its appliance: neither serves a second client. */
export interface TurnsOfProxies {
  readonly steps: Turns;
  readonly monitors: Turns;
  readonly controls: Turns;
}

export async function observeProxy(
  proxyId: string,
  states: ProxyStates,
  vmOf: (state: ProxyState) => ProxyVm,
  { steps, monitors, controls }: TurnsOfProxies,
): Promise<ObservedQemuProxy> {
  let accelerator: ObservedQemuProxy['accelerator'] = null;
  const notAlive = (detail: string, state: 'gone' | 'silent' | 'unknown' = 'gone'): ObservedQemuProxy => ({
    proxy: { proxyId, state, detail, attachments: [], readings: [] },
    health: null,
    accelerator,
  });
  const busy = (what: string) => notAlive(`its ${what} was busy with others`, 'unknown');
  const stepBefore = steps.isTaken(proxyId);
  let vm: ProxyVm | undefined;
  const hasEnded = async (): Promise<string | undefined> =>
    vm === undefined || (await isVmRunning(vm))
      ? undefined
      : `its QEMU process is gone; ${await lastWordsOf(vm)}`;
  try {
    const state = await states.read(proxyId);
    if (state === undefined) return notAlive('its activation did not get far enough to leave a state');
    accelerator = state.accelerator;
    const running = vmOf(state);
    vm = running;
    const ended = await hasEnded();
    if (ended !== undefined) return notAlive(ended);
    if (state.lost !== null) return notAlive(state.lost);
    if (!state.ready) return notAlive('its activation has not come to its end');
    await boundConsole(running);
    const inQemu = await monitors.takeWithin(proxyId, BUSY_MILLISECONDS, () => tellVm(running, serialsIn));
    if (inQemu === undefined) return busy('monitor');
    const answered = await controls.takeWithin(proxyId, BUSY_MILLISECONDS, async () => {
      const asked = performance.now();
      const options = {
        path: controlSocketOf(running),
        target: `proxy ${proxyId}`,
        milliseconds: ANSWER_MILLISECONDS,
      };
      const report = await askAppliance(options, 'A report', () => true);
      return { report, milliseconds: Math.round(performance.now() - asked) };
    });
    if (answered === undefined) return busy('control channel');
    const { report, milliseconds } = answered.value;
    return {
      ...seen(proxyId, state, inQemu.value, report, milliseconds),
      health: healthOf(report),
      accelerator,
    };
  } catch (error) {
    const ended = await hasEnded().catch(() => undefined);
    if (ended !== undefined) return notAlive(ended);
    // A guest may be held up by the very disk that is being added to it. The step has a limit of its own, and says what came of it.
    const inStep = stepBefore || steps.isTaken(proxyId);
    return notAlive(describeError(error), inStep ? 'unknown' : 'silent');
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
  return { proxy: { proxyId, state: 'alive', detail, attachments, readings } };
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
