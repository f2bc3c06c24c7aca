/**
 * The bytes that are under way at one host: every job at the same fair rate, as far as its ports, its proxy and the host let it.
 *
 * Jobs through the same proxy with as many ports have the same rate at any time, so they share a lane, and a lane keeps how much each
 * job in it has moved since the lane began: a job ends when that has grown by its bytes. A change touches lanes, not jobs.
 */
import { invariant } from '@backhaul/kernel';
import { fairRate } from './fair-share.ts';

export interface Way {
  /** The proxy, or the direct endpoint, that the job reads through. */
  readonly proxyId: string;
  readonly ports: number;
  /** Bytes per second. */
  readonly jobRateMax: number;
  readonly proxyRateMax: number;
}

interface Moving {
  readonly jobId: string;
  readonly bytes: number;
  /** Where the lane will stand when the job has all its bytes. */
  readonly endsAt: number;
}

interface Lane {
  readonly way: Way;
  /** The one that ends last comes first: the next to end is taken off the end. */
  readonly jobs: Moving[];
  moved: number;
  rate: number;
}

/** Numbers of bytes are not whole in between: this close is there. */
const CLOSE_ENOUGH_BYTES = 0.5;

export class Transfers {
  readonly #rateMax: number;
  readonly #lanes = new Map<string, Lane>();
  readonly #laneOf = new Map<string, Lane>();
  #now: number;
  #rate = 0;
  /** Rates are worked out when they are asked for, once for all that changed at an instant. */
  #changed = false;

  constructor(now: number, rateMax: number) {
    this.#now = now;
    this.#rateMax = rateMax;
  }

  /** Bytes per second, of all together. */
  get rate(): number {
    this.#shareOut();
    return this.#rate;
  }

  /** When the next job has all its bytes, in whole milliseconds. */
  get nextEnd(): number | undefined {
    this.#shareOut();
    let soonest: number | undefined;
    for (const { jobs, moved, rate } of this.#lanes.values()) {
      const left = Math.max(0, (jobs.at(-1) as Moving).endsAt - moved);
      const at = this.#now + (left <= CLOSE_ENOUGH_BYTES ? 0 : Math.ceil((left / rate) * 1000));
      if (soonest === undefined || at < soonest) soonest = at;
    }
    return soonest;
  }

  start(jobId: string, bytes: number, way: Way): void {
    invariant(!this.#laneOf.has(jobId), `Child job ${jobId} runs already`);
    const key = `${way.proxyId} ${way.ports}`;
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = { way, jobs: [], moved: 0, rate: 0 };
      this.#lanes.set(key, lane);
    }
    const moving = { jobId, bytes, endsAt: lane.moved + bytes };
    // Of two that end at once, the one that began first ends first.
    const place = lane.jobs.findIndex(({ endsAt }) => endsAt <= moving.endsAt);
    lane.jobs.splice(place === -1 ? lane.jobs.length : place, 0, moving);
    this.#laneOf.set(jobId, lane);
    this.#changed = true;
  }

  /** The job goes no further: bytes that it has moved. Undefined when it does not run. */
  stop(jobId: string): number | undefined {
    const lane = this.#laneOf.get(jobId);
    if (lane === undefined) return undefined;
    const index = lane.jobs.findIndex((job) => job.jobId === jobId);
    const [job] = lane.jobs.splice(index, 1) as [Moving];
    this.#gone(job, lane);
    return Math.max(0, Math.floor(job.bytes - Math.max(0, job.endsAt - lane.moved)));
  }

  /** Time goes on, at the rates that are. */
  advance(now: number): void {
    const seconds = (now - this.#now) / 1000;
    if (seconds > 0) {
      this.#shareOut();
      for (const lane of this.#lanes.values()) lane.moved += lane.rate * seconds;
    }
    this.#now = now;
  }

  /** Those that have all their bytes now; they run no longer. */
  takeEnded(): string[] {
    const ended: string[] = [];
    for (const lane of this.#lanes.values()) {
      for (;;) {
        const next = lane.jobs.at(-1);
        if (next === undefined || next.endsAt - lane.moved > CLOSE_ENOUGH_BYTES) break;
        lane.jobs.pop();
        this.#gone(next, lane);
        ended.push(next.jobId);
      }
    }
    return ended;
  }

  #gone({ jobId }: Moving, lane: Lane): void {
    this.#laneOf.delete(jobId);
    if (lane.jobs.length === 0) this.#lanes.delete(`${lane.way.proxyId} ${lane.way.ports}`);
    this.#changed = true;
  }

  /** First what each proxy can do, then what the host can do for all of them. */
  #shareOut(): void {
    if (!this.#changed) return;
    this.#changed = false;
    const perProxy = new Map<string, Lane[]>();
    for (const lane of this.#lanes.values()) {
      const lanes = perProxy.get(lane.way.proxyId);
      if (lanes === undefined) perProxy.set(lane.way.proxyId, [lane]);
      else lanes.push(lane);
    }
    for (const lanes of perProxy.values()) {
      const demands = lanes.map(({ jobs, way }) => ({ jobs: jobs.length, rateMax: way.jobRateMax }));
      const most = fairRate(demands, lanes[0]?.way.proxyRateMax ?? 0);
      for (const lane of lanes) lane.rate = Math.min(lane.way.jobRateMax, most);
    }
    const lanes = [...this.#lanes.values()];
    const most = fairRate(
      lanes.map(({ jobs, rate }) => ({ jobs: jobs.length, rateMax: rate })),
      this.#rateMax,
    );
    this.#rate = 0;
    for (const lane of lanes) {
      lane.rate = Math.min(lane.rate, most);
      this.#rate += lane.rate * lane.jobs.length;
    }
  }
}
