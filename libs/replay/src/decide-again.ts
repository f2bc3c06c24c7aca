/** What an append to a host's stream would hold if it were decided today, on the pool before it and on the same occasion. Pure. */
import type { Event } from '@backhaul/contracts';
import { invariant, unreachable } from '@backhaul/kernel';
import {
  carryOut,
  confirmsSomething,
  decisionsNow,
  type HostEvent,
  type Occasion,
  type Pool,
  type PoolNews,
  react,
} from '@backhaul/pool';
import { driftAgain } from './drift-again.ts';
import type { Logged } from './logged.ts';

export type News = Logged & Event<PoolNews>;

/** `occasion` undefined: `causes` led to it. */
export function decideAgain(
  pool: Pool,
  occasion: Occasion | undefined,
  causes: readonly News[],
  recorded: readonly Logged[],
): readonly HostEvent[] {
  if (occasion === undefined)
    return causes.flatMap((news) => carryOut(pool, react(news, news.recordedAt).command, news.recordedAt));
  switch (occasion.kind) {
    case 'look':
      return decisionsNow(pool, occasion.at);
    case 'confirmation':
      return recorded.filter((event) => confirmsSomething(pool, event));
    case 'drift':
      return driftAgain(pool, recorded, occasion.at);
    case 'given-up':
      return recorded.filter((event) => wasAskedFor(pool, event));
    case 'registration': {
      const [registered] = recorded;
      invariant(registered?.type === 'HostRegistered', 'A registration registers');
      const { kind, address } = registered.data;
      return carryOut(pool, { type: 'RegisterHost', kind, address }, new Date(occasion.at).toISOString());
    }
    default:
      return unreachable(occasion.kind);
  }
}

/** As far as the pool can tell without the action that was given up: of a run that goes on, at a proxy that it knows. */
function wasAskedFor(pool: Pool, event: HostEvent): boolean {
  switch (event.type) {
    case 'ProxyLost':
      return pool.proxies.has(event.data.proxyId);
    case 'RunFailed':
    case 'FillInterrupted':
      return confirmsSomething(pool, event);
    default:
      return false;
  }
}
