/** The wish of an operator that a dead letter is sent again: held against the letters there are, and recorded. */
import { type Answer, type Event, type RedriveRequested, streamName } from '@backhaul/contracts';
import { commandService, type EventTransaction, type LogReader } from '@backhaul/event-store';
import { derivedId } from '@backhaul/kernel';
import { type DeadLetter, findDeadLetter } from '@backhaul/messaging';
import { deadLetter, deadLetterStream, whyPointless } from './core/dead-letter.ts';
import type { Cause, Desk } from './subjects.ts';

export async function redriveLetter(
  desk: Desk,
  { requestId, letter: deadLetterId, reason, requestedBy }: RedriveRequested,
  via: string,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Answer> {
  const letter = await findDeadLetter(transaction ?? desk.store, deadLetterId);
  if (letter === undefined) {
    const refusal = {
      code: 'UnknownDeadLetter',
      message: `There is no dead letter ${deadLetterId}.`,
      wayOut: 'The list of dead letters has the numbers of those there are.',
    };
    return { requestId, outcome: 'refused', refusal };
  }
  const { consumer, subject, messageId, eventId, reason: failure } = letter;
  const redrive = {
    ...{ deadLetterId, consumer, subject, messageId, eventId, failure },
    ...{ requestId, reason, requestedBy: requestedBy ?? via, redrivenAt: desk.now() },
  };
  const stream = deadLetterStream(letter.messageKey);
  const pointless = whyPointless(deadLetterId, await ofPlan(letter, transaction ?? desk.store));
  const decided = await commandService(desk.store, deadLetter).execute(
    stream,
    { type: 'RedriveDeadLetter', redrive, pointless },
    {
      commandId: derivedId('RedriveDeadLetter', deadLetterId, requestId),
      // Part of the story of the backup that the letter is about, where it is about one.
      metadata: { ...cause, correlation: letter.correlation ?? stream },
    },
    transaction,
  );
  return decided.ok
    ? { requestId, outcome: 'accepted' }
    : { requestId, outcome: 'refused', refusal: decided.refusal };
}

/** What was said of the plan that the letter asked for. */
async function ofPlan(
  { consumer, correlation }: DeadLetter,
  reader: Pick<LogReader, 'readStreamPage'>,
): Promise<readonly Event[]> {
  if (correlation === undefined || !consumer.startsWith('planner__')) return [];
  return (await reader.readStreamPage(streamName('plan', correlation))).events;
}
