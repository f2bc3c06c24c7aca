/**
 * The replay check: everything that a log says was planned or decided is planned and decided again, from the events before it alone, by
 * the code of today. What agrees is counted, what parts is told with both sides, and what cannot be derived is counted by the reason:
 * nothing passes in silence. Events are given one by one in the order of the log; memory grows with what is open, not with the log.
 */
import type { Event, StoredRecord } from '@backhaul/contracts';
import { shadowPlanOf } from '@backhaul/planning';
import { compareDerived } from './compare.ts';
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
    if (event.type === 'ShadowPlanCalculated') {
      this.#checkShadow(event);
    } else if (found !== undefined && 'notCheckable' in found) {
      this.#findings.notCheckable('plan', found.notCheckable);
    } else if (found !== undefined) {
      const what = `the plan of run ${found.runId} is another one today`;
      this.#compare('plan', event, what, () => found.calculate());
    }
  }

  #checkShadow(event: Logged & Event<'ShadowPlanCalculated'>): void {
    const { runId, policy } = event.data;
    const plan = this.#plans.planOf(runId);
    if (plan === undefined) {
      this.#findings.notCheckable('shadow', 'the plan that it stands beside is not checkable');
      return;
    }
    const what = `the plan of run ${runId} under policy ${policy.policyId} is another one today`;
    this.#compare('shadow', event, what, () =>
      shadowPlanOf(plan.calculate(), plan.calculate(policy), policy, plan.policy.policyId),
    );
  }

  #compare(kind: 'plan' | 'shadow', event: Logged, what: string, derive: () => Event | undefined): void {
    this.#findings.checked(kind);
    const apart = compareDerived([event], () => [derive()].filter((each) => each !== undefined));
    if (apart === undefined) return;
    const { position, stream, version } = event;
    this.#findings.differs({ kind, position, stream, version, what, ...apart });
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
