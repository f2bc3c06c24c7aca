/**
 * A message that a service gave up, and who had it sent again.
 * The promise kept here: a dead letter is sent again at most once, and whoever asks a second time is told of the first. When the
 * message comes back it is another letter, on the same stream.
 */
import { type Event, type EventData, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, ok, refuse } from '@backhaul/kernel';

export const deadLetterStream = (messageKey: string): StreamName => streamName('deadLetter', messageKey);

export type DeadLetterEvent = Event<'DeadLetterRedriven'>;

/** The redrives of one message, by the letter: several consumers may have given it up. */
export type Redrives = Readonly<Record<string, EventData<'DeadLetterRedriven'>>>;

export interface RedriveDeadLetter {
  readonly type: 'RedriveDeadLetter';
  readonly redrive: EventData<'DeadLetterRedriven'>;
}

export const deadLetter: Decider<Redrives, RedriveDeadLetter, DeadLetterEvent> = {
  initialState: {},
  evolve: (state, event) =>
    event.type === 'DeadLetterRedriven' ? { ...state, [event.data.deadLetterId]: event.data } : state,
  decide(state, { redrive }) {
    const earlier = state[redrive.deadLetterId];
    if (earlier === undefined) return ok([{ type: 'DeadLetterRedriven', data: redrive }]);
    if (earlier.requestId === redrive.requestId) return ok([]);
    return refuse({
      code: 'AlreadyRedriven',
      message: `Dead letter ${earlier.deadLetterId} was sent again at ${earlier.redrivenAt} by ${earlier.requestedBy}: ${earlier.reason}.`,
      wayOut: 'If the message came back it is another dead letter: look at the list.',
    });
  },
};
