/**
 * What a host was seen to be, as far as the events that came of it tell; and what the pool makes of that today. The sight itself is
 * not on record: that everything was as it should be is the rule, and is not worth an event. Pure.
 */
import type { Observation, Sighting } from '@backhaul/contracts';
import { findDrift, type HostEvent, healthChange, type Pool, settledIn } from '@backhaul/pool';
import type { Logged } from './logged.ts';

/** Event by event: what it tells of the sight is taken at its word, and what follows from it is derived. */
export function driftAgain(pool: Pool, recorded: readonly Logged[], at: number): readonly HostEvent[] {
  const sight = new Sight(pool, at);
  const told = recorded.map((event) => sight.tells(event));
  const derived = [...findDrift(pool, sight.settled, sight.seen, at).events];
  const again = recorded.flatMap((event, index) =>
    told[index] === 'nothing' ? judgedAgain(pool, event) : derived.splice(0, 1),
  );
  return [...again, ...derived];
}

/** A change of health has on record what was measured: it is judged again. That it was seen twice, is not asked again. */
function judgedAgain(pool: Pool, event: HostEvent): readonly HostEvent[] {
  if (event.type !== 'ProxyHealthChanged') return [event];
  const { proxyId, items } = event.data;
  const proxy = pool.proxyVms.get(proxyId);
  return proxy === undefined ? [] : healthChange(pool.hostId, proxy, items);
}

type Kinds = Exclude<keyof Observation, 'appliance'>;
type Lists = { -readonly [K in Kinds]: Observation[K][number][] } & { appliance?: string };

class Sight {
  readonly settled = new Set<string>();
  readonly seen: Observation & Lists = { proxies: [], snapshots: [], targets: [], fills: [] };
  readonly #pool: Pool;
  readonly #at: number;

  constructor(pool: Pool, at: number) {
    this.#pool = pool;
    this.#at = at;
  }

  /** `nothing`: of a kind that does not come of comparing the two pictures. */
  tells(event: HostEvent): 'nothing' | 'something' {
    switch (event.type) {
      case 'ProxyLost': {
        const { proxyId, reason } = event.data;
        this.#proxy(proxyId, this.#isGivenUpAlive(proxyId, reason) ? 'alive' : 'gone', reason);
        break;
      }
      case 'ProxyHealthObserved': {
        const { proxyId, detail } = event.data;
        const direct = this.#pool.proxies.get(proxyId);
        if (direct?.kind === 'direct') this.#disks(direct.startedFor, 'alive', detail);
        else {
          this.#proxy(proxyId, 'alive', detail);
          this.#excuse(proxyId);
        }
        break;
      }
      case 'DiskDetached': {
        const { proxyId, runId, diskId } = event.data;
        if (!this.settled.has(`proxy ${proxyId}`)) this.#proxy(proxyId, 'alive', '');
        this.settled.add(`attachment ${proxyId} ${runId}.${diskId}`);
        break;
      }
      case 'SnapshotLost':
      case 'TargetLost':
        this.#disks(event.data.runId, 'gone', event.data.reason);
        break;
      case 'FillInterrupted': {
        const { runId: targetId, reason: detail } = event.data;
        this.#fill({ targetId, vmId: '', state: 'stopped', filledBytes: 0, totalBytes: 0, detail });
        break;
      }
      case 'FillProgressed': {
        const { runId: targetId, filledBytes, totalBytes } = event.data;
        // How much of a step is worth an event is not asked again: it was.
        this.#fill({ targetId, vmId: '', state: 'copied', filledBytes, totalBytes, detail: '' });
        break;
      }
      case 'ApplianceObserved':
        this.seen.appliance = event.data.appliance;
        break;
      // Both follow from what is said beside them.
      case 'DriftFound':
      case 'PortsReleased':
        break;
      default:
        return 'nothing';
    }
    return 'something';
  }

  #proxy(proxyId: string, state: Sighting, detail: string): void {
    this.settled.add(`proxy ${proxyId}`);
    this.seen.proxies.push({ proxyId, state, detail, attachments: [], readings: [] });
  }

  #disks(runId: string, state: Sighting, detail: string): void {
    const order = this.#pool.runs.get(runId)?.order;
    if (order === undefined) return;
    this.settled.add(`disks ${runId}`);
    const { vmId } = order;
    if (order.purpose === 'backup') this.seen.snapshots.push({ snapshotId: runId, vmId, state, detail });
    else this.seen.targets.push({ targetId: runId, vmId, state, detail });
  }

  #fill(fill: Observation['fills'][number]): void {
    this.settled.add(`fill ${fill.targetId}`);
    this.seen.fills.push(fill);
  }

  /** A suspect may be given up although it is up: then the reason is the pool's own, and not what the host said. */
  #isGivenUpAlive(proxyId: string, reason: string): boolean {
    return this.#lossesOfAlive(proxyId).some((event) => event.data.reason === reason);
  }

  /** One that was not given up although it might have been: disks of a run that uses it did not answer. */
  #excuse(proxyId: string): void {
    if (this.#lossesOfAlive(proxyId).length === 0) return;
    const here = settledIn(this.#pool);
    const doubted = [...(this.#pool.due.users.get(proxyId) ?? [])].find(
      (runId) => here.has(`disks ${runId}`) && !this.settled.has(`disks ${runId}`),
    );
    if (doubted !== undefined) this.#disks(doubted, 'unknown', '');
  }

  #lossesOfAlive(proxyId: string): readonly Extract<HostEvent, { type: 'ProxyLost' }>[] {
    const alive = { proxyId, state: 'alive' as const, detail: '', attachments: [], readings: [] };
    const seen: Observation = { proxies: [alive], snapshots: [], targets: [], fills: [] };
    const { events } = findDrift(this.#pool, new Set([`proxy ${proxyId}`]), seen, this.#at);
    return events.filter((event) => event.type === 'ProxyLost');
  }
}
