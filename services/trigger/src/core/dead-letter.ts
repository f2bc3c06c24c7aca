/**
 * A message that a service gave up, and who had it sent again.
 * The promise kept here: a dead letter is sent again at most once, and whoever asks a second time is told of the first. When the
 * message comes back it is another letter, on the same stream.
 */
import { type Event, type EventData, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, ok, type Refusal, refuse } from '@backhaul/kernel';

export const deadLetterStream = (messageKey: string): StreamName => streamName('deadLetter', messageKey);

export type DeadLetterEvent = Event<'DeadLetterRedriven'>;

/** The redrives of one message, by the letter: several consumers may have given it up. */
export type Redrives = Readonly<Record<string, EventData<'DeadLetterRedriven'>>>;

export interface RedriveDeadLetter {
  readonly type: 'RedriveDeadLetter';
  readonly redrive: EventData<'DeadLetterRedriven'>;
  /** Why nothing would come of it. */
  readonly pointless?: Refusal | undefined;
}

/**
 * A run whose plan was given up ended there, and its VM's turn was passed: planned after all, it would come between the runs of others.
 * `ofPlan`: of the run's stream `plan-<id>`, where it is the planner that gave the message up.
 */
export function whyPointless(deadLetterId: string, ofPlan: readonly Event[]): Refusal | undefined {
  const ended = ofPlan.find(({ type }) => type === 'PlanRefused' || type === 'RecoveryPlanRefused');
  if (ended?.type !== 'PlanRefused' && ended?.type !== 'RecoveryPlanRefused') return undefined;
  const purpose = ended.type === 'PlanRefused' ? 'backup' : 'recovery';
  return {
    code: 'RunIsOver',
    message: `Dead letter ${deadLetterId} is not sent again: the ${purpose} of vm ${ended.data.vmId} that it would plan has ended. ${ended.data.refusal.message}`,
    wayOut: `Ask for the ${purpose} again under another request id.`,
  };
}

export const deadLetter: Decider<Redrives, RedriveDeadLetter, DeadLetterEvent> = {
  initialState: {},
  evolve: (state, event) =>
    event.type === 'DeadLetterRedriven' ? { ...state, [event.data.deadLetterId]: event.data } : state,
  decide(state, { redrive, pointless }) {
    const earlier = state[redrive.deadLetterId];
    if (earlier === undefined && pointless !== undefined) return refuse(pointless);
    if (earlier === undefined) return ok([{ type: 'DeadLetterRedriven', data: redrive }]);
    if (earlier.requestId === redrive.requestId) return ok([]);
    return refuse({
      code: 'AlreadyRedriven',
      message: `Dead letter ${earlier.deadLetterId} was sent again at ${earlier.redrivenAt} by ${earlier.requestedBy}: ${earlier.reason}.`,
      wayOut: 'If the message came back it is another dead letter: look at the list.',
    });
  },
};
