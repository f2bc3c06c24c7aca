/** What other services' news asks of the pool of one host, carried out in batches: one append for as many runs as have news. */
import type { Event, EventMetadata, Recorded } from '@backhaul/contracts';
import type { EventTransaction } from '@backhaul/event-store';
import { derivedId } from '@backhaul/kernel';
import { carryOut, type HostEvent, type Pool, type PoolNews, react, subjectOf } from '@backhaul/pool';
import type { Ledger } from './ledger.ts';

type News = Recorded<PoolNews>;
/** A transaction that hands on what was not handled before (libs/messaging, consumeBatches). */
type Once = (
  news: readonly News[],
  work: (fresh: readonly News[], transaction: EventTransaction) => Promise<void>,
) => Promise<void>;

export async function takeNews(ledger: Ledger, news: readonly News[], once: Once): Promise<void> {
  for (const round of roundsOf(news)) {
    await ledger.decideWithin((decide) =>
      once(round, async (fresh, transaction) => {
        const causes = new Map<HostEvent, News>();
        const carryOutAll = (pool: Pool): HostEvent[] =>
          fresh.flatMap((each) => {
            const events = carryOut(pool, react(each, each.recordedAt).command, each.recordedAt);
            for (const event of events) causes.set(event, each);
            return events;
          });
        await decide(transaction, carryOutAll, {
          commandId: derivedId('pool', ...fresh.map(({ eventId }) => eventId)),
          causeOf: (event) => causeFrom(causes.get(event)),
        });
      }),
    );
  }
}

/** News of different runs can be decided on the same pool; what more there is of a run, or of the host, comes in the next round. */
export function roundsOf<Each extends { readonly data: Event<PoolNews>['data'] }>(
  news: readonly Each[],
): Each[][] {
  const rounds: Each[][] = [];
  const nextRound = new Map<string, number>();
  for (const each of news) {
    const subject = subjectOf(each.data);
    const number = nextRound.get(subject) ?? 0;
    nextRound.set(subject, number + 1);
    const round = rounds[number];
    if (round === undefined) rounds[number] = [each];
    else round.push(each);
  }
  return rounds;
}

function causeFrom(news: News | undefined): Pick<EventMetadata, 'causation' | 'traceparent'> | undefined {
  if (news === undefined) return undefined;
  const { eventId: causation, metadata } = news;
  const { traceparent } = metadata;
  return traceparent === undefined ? { causation } : { causation, traceparent };
}
