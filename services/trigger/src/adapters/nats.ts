/** The trigger on NATS: requests from upstream, and news from the other services. */

import { Fault, refusalLine } from '@backhaul/kernel';
import type { Messaging } from '@backhaul/messaging';
import { answerAtTheEnd } from '../core/answers.ts';
import { newsOfRuns } from '../core/reactions.ts';
import type { Schedules } from '../fire-schedules.ts';
import { followNews } from '../follow-news.ts';
import { handleRequest } from '../handle-request.ts';
import type { Desk } from '../subjects.ts';

/** Handled in one transaction: what they read and append travels together. */
const CONCURRENCY = 32;

export async function consumeFromNats(messaging: Messaging, desk: Desk, schedules: Schedules): Promise<void> {
  await messaging.consume({
    purpose: 'outcomes',
    types: newsOfRuns,
    concurrency: CONCURRENCY,
    async handle(news, transaction) {
      const requestId = await followNews(desk, news, transaction);
      const answer = requestId === undefined ? undefined : answerAtTheEnd(requestId, news);
      if (answer !== undefined) transaction.onCommitted(() => messaging.answer(answer));
    },
  });

  await messaging.consumeRequests({
    concurrency: CONCURRENCY,
    async handle(request, transaction) {
      const handled = await handleRequest(desk, schedules, { ...request, via: 'nats' }, transaction);
      const { notUnderstood, answer, alsoTell } = handled;
      if (notUnderstood !== undefined) {
        // Kept whole as a dead letter too: messaging does that, and answers where a request id can be read.
        throw new Fault(refusalLine(notUnderstood), { permanent: true, code: notUnderstood.code });
      }
      // This one first: both may go to the same requester, under one id.
      return [answer, alsoTell].filter((each) => each !== undefined);
    },
  });
}
