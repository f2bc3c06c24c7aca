/** What a run's events tell of it whether it served a backup or a recovery: proxies, waves, losses, retries. Pure. */
import type { consoleApi, EventType, Recorded } from '@backhaul/contracts';
import { type Refusal, refusalLine } from '@backhaul/kernel';
import { shadowLine } from '@backhaul/planning';

type Explained = consoleApi.Explanation | consoleApi.RecoveryExplanation;
export interface Reasoned {
  readonly subject: string;
  readonly reason: string;
}

export const of = <T extends EventType>(story: readonly Recorded[], type: T): Recorded<T>[] =>
  story.filter((event) => event.type === type) as unknown as Recorded<T>[];
export const last = <T extends EventType>(story: readonly Recorded[], type: T): Recorded<T> | undefined =>
  of(story, type).at(-1);

/** `over nats by anna as request r1`, and which VM and policy it named is told by whoever knows them. */
export function originWords({
  via,
  requestId,
  requestedBy,
  scheduleId,
}: consoleApi.BackupView['origin']): string {
  const who = scheduleId ?? requestedBy;
  return `Asked for over ${via}${who === undefined ? '' : ` by ${who}`} as request ${requestId}`;
}

/** Every proxy that was chosen, those chosen in place of a lost one included. */
export function proxiesOf(story: readonly Recorded[]): Explained['proxies'] {
  const proxies = new Map<string, Explained['proxies'][number]>();
  for (const event of story) {
    switch (event.type) {
      case 'ProxiesChosen':
      case 'ProxiesActivated':
        for (const { proxyId, shared, why, ...rest } of event.data.proxies) {
          const known = proxies.get(proxyId);
          const ports = 'ports' in rest ? rest.ports : (known?.ports ?? 0);
          proxies.set(proxyId, { leases: 0, outcome: null, ...known, proxyId, shared, reason: why, ports });
        }
        break;
      case 'PortsLeased':
      case 'ProxyLost':
      case 'ProxyDeactivated': {
        const proxy = proxies.get(event.data.proxyId);
        if (proxy === undefined) break;
        if (event.type === 'PortsLeased') proxy.leases += 1;
        else if (event.type === 'ProxyLost') proxy.outcome = `lost: ${event.data.reason}`;
        else proxy.outcome ??= `stopped: ${event.data.reason}`;
        break;
      }
      default:
    }
  }
  return [...proxies.values()];
}

export function wavesOf(story: readonly Recorded[]): Explained['waves'] {
  const waves = new Map<number, { childJobs: Set<string>; proxies: Set<string> }>();
  for (const { data } of of(story, 'PortsLeased')) {
    const wave = waves.get(data.wave) ?? { childJobs: new Set(), proxies: new Set() };
    waves.set(data.wave, wave);
    wave.childJobs.add(data.childJobId);
    wave.proxies.add(data.proxyId);
  }
  return [...waves]
    .sort(([a], [b]) => a - b)
    .map(([wave, { childJobs, proxies }]) => ({ wave, childJobs: childJobs.size, proxies: proxies.size }));
}

/** How the health of its proxies changed meanwhile, while it had to do with them. */
export function healthOf(story: readonly Recorded[], proxies: Explained['proxies']): string[] {
  const end = story.findIndex(({ type }) => type === 'RunClosed');
  const own = new Set(proxies.map(({ proxyId }) => proxyId));
  return of(end === -1 ? story : story.slice(0, end), 'ProxyHealthChanged')
    .filter(({ data }) => own.has(data.proxyId))
    .map(({ data }) => `Proxy ${data.proxyId} was ${data.was} and became ${data.health}: ${data.detail}.`);
}

/** Proxies that it started and that are not as fast as they could be. */
export function emulationLines(story: readonly Recorded[]): string[] {
  const byReason = new Map<string, string[]>();
  for (const { data } of of(story, 'ProxyActivated')) {
    if (data.characteristics?.accelerator !== 'tcg') continue;
    const reason = data.characteristics.acceleratorBecause ?? 'nobody noted why';
    byReason.set(reason, [...(byReason.get(reason) ?? []), data.proxyId]);
  }
  return [...byReason].map(
    ([reason, proxyIds]) =>
      `Emulated and so much slower than with KVM: ${proxyIds.join(', ')}, because: ${reason}.`,
  );
}

/** What broke under the run. A proxy that it started may serve others when it has ended: what is lost then is not its loss. */
export function lossesOf(story: readonly Recorded[]): Explained['losses'] {
  const losses: Reasoned[] = [];
  for (const event of story) {
    if (event.type === 'RunClosed') break;
    if (event.type === 'ProxyLost') {
      losses.push({ subject: `Proxy ${event.data.proxyId}`, reason: event.data.reason });
    } else if (event.type === 'SnapshotLost') {
      losses.push({ subject: 'Snapshot', reason: event.data.reason });
    } else if (event.type === 'FillInterrupted') {
      losses.push({ subject: 'Filling of the disks', reason: event.data.reason });
    } else if (event.type === 'MountReadFailed') {
      losses.push({ subject: `Disk ${event.data.diskId} of the restore point`, reason: event.data.reason });
    } else if (event.type === 'TargetLost') {
      losses.push({ subject: 'Disks of the VM to be', reason: event.data.reason });
    }
  }
  return losses;
}

/** What it would have been under other policies that were planned with beside it. */
export const shadowLines = (story: readonly Recorded[]): string[] =>
  of(story, 'ShadowPlanCalculated').map(shadowLine);

/** When it stood still, and who wanted that; and who wanted it to end. */
export function orderLines(story: readonly Recorded[]): string[] {
  const lines: string[] = [];
  for (const event of story) {
    switch (event.type) {
      case 'BackupPaused':
      case 'RecoveryPaused':
        lines.push(`Paused at ${event.data.pausedAt} by ${event.data.pausedBy}: ${event.data.reason}.`);
        break;
      case 'BackupResumed':
      case 'RecoveryResumed':
        lines.push(`Resumed at ${event.data.resumedAt} by ${event.data.resumedBy}: ${event.data.reason}.`);
        break;
      case 'BackupCancelOrdered':
      case 'RecoveryCancelOrdered':
        lines.push(
          `Ordered to end at ${event.data.orderedAt} by ${event.data.cancelledBy}: ${event.data.reason}.`,
        );
        break;
      default:
    }
  }
  return lines;
}

export const retriesOf = (
  interruptions: readonly Recorded<'ChildJobInterrupted' | 'ExportJobInterrupted'>[],
): Explained['retries'] =>
  interruptions.map(({ data: { childJobId, attempt, proxyId, reason } }) => ({
    childJobId,
    attempt,
    proxyId,
    reason,
  }));

/** Of a run that did not complete, or has not yet. */
export function stateLine(state: string, refusal: unknown): string {
  const reason = refusal === null ? '.' : `: ${refusalLine(refusal as Refusal)}`;
  return `${state.charAt(0).toUpperCase()}${state.slice(1)}${reason}`;
}

export function proxyLines(
  { proxies, shortfall, waves }: Pick<Explained, 'proxies' | 'shortfall' | 'waves'>,
  noun: { readonly run: string; readonly job: string },
): string[] {
  return [
    ...proxies.map(
      ({ proxyId, shared, reason, leases, outcome }) =>
        `Proxy ${proxyId} (${shared ? 'shared' : `started for this ${noun.run}`}), because: ${reason}; ` +
        `${count(leases, 'lease')}${outcome === null ? '' : `; ${outcome}`}.`,
    ),
    ...(shortfall === null ? [] : [`Fewer proxies than asked for: ${shortfall}.`]),
    ...waves.map(
      ({ wave, childJobs, proxies: through }) =>
        `Wave ${wave}: ${count(childJobs, noun.job)} through ${proxies.length === 0 ? "the host's own export" : count(through, 'proxy', 'proxies')}.`,
    ),
  ];
}

export function troubleLines(
  { losses, retries }: Pick<Explained, 'losses' | 'retries'>,
  job: string,
): string[] {
  return [
    ...losses.map(({ subject, reason }) => `Lost: ${subject}: ${reason}.`),
    ...retries.map(
      ({ childJobId, attempt, proxyId, reason }) =>
        `${job} ${childJobId} was interrupted in attempt ${attempt} at ${proxyId}: ${reason}.`,
    ),
  ];
}

const count = (n: number, noun: string, nouns = `${noun}s`): string => `${n} ${n === 1 ? noun : nouns}`;
