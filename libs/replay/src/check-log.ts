/**
 * The replay check: everything that a log says was planned or decided is planned and decided again, from the events before it alone, by
 * the code of today. What agrees is counted, what parts is told with both sides, and what cannot be derived is counted by the reason:
 * nothing passes in silence. Events are given one by one in the order of the log; memory grows with what is open, not with the log.
 */
import type { StoredRecord } from '@backhaul/contracts';
import { compare } from './compare.ts';
import { Findings, type Report } from './findings.ts';
import { HostReplay, isNews } from './host-replay.ts';
import { type Logged, loggedFrom } from './logged.ts';
import { RecordedPlans } from './recorded-plans.ts';

export class LogCheck {
  readonly #findings = new Findings();
  readonly #plans = new RecordedPlans();
  readonly #hosts = new Map<string, HostReplay>();
  readonly #unknownTypes = new Map<string, number>();
  #events = 0;

  take(stored: StoredRecord): void {
    this.#events += 1;
    const event = loggedFrom(stored);
    if (event === undefined) {
      this.#unknownTypes.set(stored.type, (this.#unknownTypes.get(stored.type) ?? 0) + 1);
      if (stored.stream.startsWith('host-')) this.#host(stored.stream.slice(5)).pass(stored.version);
      return;
    }
    this.#checkPlan(event);
    if (isNews(event)) this.#host(event.data.hostId).hear(event);
    if (event.category === 'host') this.#host(event.stream.slice('host-'.length)).take(event);
  }

  report(): Report {
    for (const host of this.#hosts.values()) host.close();
    const [events, unknownTypes] = [this.#events, this.#unknownTypes];
    return this.#findings.report({ events, unknownTypes });
  }

  #checkPlan(event: Logged): void {
    const found = this.#plans.take(event);
    if (found === undefined) return;
    if ('notCheckable' in found) {
      this.#findings.notCheckable('plan', found.notCheckable);
      return;
    }
    this.#findings.checked('plan');
    const apart = compare([event], [found.calculate()]);
    if (apart === undefined) return;
    const { position, stream, version } = event;
    const what = `the plan of run ${found.runId} is another one today`;
    this.#findings.differs({ kind: 'plan', position, stream, version, what, ...apart });
  }

  #host(hostId: string): HostReplay {
    let host = this.#hosts.get(hostId);
    if (host === undefined) {
      host = new HostReplay(hostId, this.#findings);
      this.#hosts.set(hostId, host);
    }
    return host;
  }
}

export function checkLog(events: Iterable<StoredRecord>): Report {
  const check = new LogCheck();
  for (const event of events) check.take(event);
  return check.report();
}
