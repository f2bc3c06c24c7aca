/**
 * How an upstream system asks for a backup or a recovery over NATS, and hears what became of it. It needs nothing of Backhaul but three
 * subjects and the shapes of the contracts, so this file can be copied into any language:
 * 1. subscribe to `ans.<requestId>`, before anything is sent;
 * 2. publish the request to `req.trigger.BackupRequested` or `req.trigger.RecoveryRequested` (or another of `requests`) in JetStream, with a `Nats-Msg-Id` that is new each
 *    time (JetStream drops a second message of the same one within five minutes, whatever it says, and acknowledges it all the same), and
 *    wait until it is stored: from then on it is not lost, whatever else is down;
 * 3. wait for the answer: `accepted` or `refused`; and, if wanted, for the last one: `completed`, `failed` or, where it never starts, `refused`.
 * Answers are told and not kept. Who missed one sends the same request with the same requestId again, as often as it takes: it is the
 * same backup, and the answer is where it stands by then. All answers under one id are heard by all who listen for it.
 */
import { randomUUID } from 'node:crypto';
import {
  Answer,
  answerSubject,
  type BackupRequested,
  type RecoveryRequested,
  type RequestName,
  requestSubject,
  type requests,
} from '@backhaul/contracts';
import { describeError, Fault, natsAddress, withoutNatsPassword } from '@backhaul/kernel';
import type { Msg, NatsConnection } from 'nats';
import type { z } from 'zod';

export interface Upstream {
  readonly natsUrl: string;
  /** The requester's own id of this wish. The same id again is the same backup or recovery. Default: a new one. */
  readonly requestId?: string;
  /** How long to wait for `accepted` or `refused`. Default 30 s. */
  readonly answerMilliseconds?: number;
  /** Wait for the last answer too, at most this long. */
  readonly finalMilliseconds?: number;
  /** Called with each answer as it comes. */
  readonly onAnswer?: (answer: Answer) => void;
}

export type UpstreamRequest = Upstream & Omit<z.input<typeof BackupRequested>, 'requestId'>;
export type UpstreamRecovery = Upstream & Omit<z.input<typeof RecoveryRequested>, 'requestId'>;

const STORED_MILLISECONDS_MAX = 10_000;

/** The last answer waited for. Throws a Fault when NATS does not store the request, or no answer comes in time. */
export const requestBackup = (options: UpstreamRequest): Promise<Answer> => ask('BackupRequested', options);

/** The same for a recovery. */
export const requestRecovery = (options: UpstreamRecovery): Promise<Answer> =>
  ask('RecoveryRequested', options);

/** No last answer comes to an order: what becomes of the run is told to whoever asked for the run. */
type Order<N extends OrderName> = Omit<Upstream, 'finalMilliseconds'> &
  Omit<z.input<(typeof requests)[N]>, 'requestId'>;
type OrderName =
  | 'BackupCancellationRequested'
  | 'BackupPauseRequested'
  | 'BackupResumeRequested'
  | 'RecoveryCancellationRequested'
  | 'RecoveryPauseRequested'
  | 'RecoveryResumeRequested';

/** Has a run end, stand still or go on. `accepted`: it is ordered, and the run's own answers and events tell when it has come true. */
export const orderRun = <N extends OrderName>(name: N, options: Order<N>): Promise<Answer> =>
  ask(name, options);

async function ask(name: RequestName, options: Upstream): Promise<Answer> {
  const {
    natsUrl,
    requestId = randomUUID(),
    answerMilliseconds = 30_000,
    finalMilliseconds,
    onAnswer,
    ...body
  } = options;
  // Who asks over HTTP need not load it.
  const { connect } = await import('nats');
  const connection = await connect({ ...natsAddress(natsUrl), name: 'backhaul upstream' }).catch(
    (cause: unknown) => {
      throw new Fault(`NATS cannot be reached at ${withoutNatsPassword(natsUrl)}: ${describeError(cause)}`, {
        cause,
        code: 'Unreachable',
      });
    },
  );
  try {
    const answers = connection.subscribe(answerSubject(requestId))[Symbol.asyncIterator]();
    await store(connection, name, requestId, { ...body, requestId });
    const first = await nextAnswer(answers, requestId, answerMilliseconds);
    onAnswer?.(first);
    if (isLast(first) || finalMilliseconds === undefined) return first;
    const last = await nextAnswer(answers, requestId, finalMilliseconds, isLast);
    onAnswer?.(last);
    return last;
  } finally {
    await connection.close();
  }
}

async function store(
  connection: NatsConnection,
  name: RequestName,
  requestId: string,
  request: object,
): Promise<void> {
  try {
    await connection.jetstream().publish(requestSubject(name), JSON.stringify(request), {
      msgID: randomUUID(),
      timeout: STORED_MILLISECONDS_MAX,
    });
  } catch (cause) {
    throw new Fault(
      `NATS did not store request ${requestId}: ${describeError(cause)}. Does the trigger run?`,
      {
        cause,
      },
    );
  }
}

/** Whoever asks again, or orders something, under the same id is told `accepted` too. */
const isLast = ({ outcome }: Answer): boolean => outcome !== 'accepted';

async function nextAnswer(
  answers: AsyncIterator<Msg>,
  requestId: string,
  milliseconds: number,
  isIt: (answer: Answer) => boolean = () => true,
): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = `No answer to request ${requestId} came within ${milliseconds} ms. It is stored and not lost: ask again with the same requestId, or ask the console what became of it.`;
      reject(new Fault(message, { code: 'TimedOut' }));
    }, milliseconds);
  });
  const heard = (async () => {
    for (;;) {
      const { done, value } = await answers.next();
      if (done === true)
        throw new Fault(`NATS closed the connection before request ${requestId} was answered`);
      const answer = Answer.safeParse(parsed(value.data));
      if (answer.success && isIt(answer.data)) return answer.data;
    }
  })();
  try {
    return await Promise.race([heard, timeUp]);
  } finally {
    clearTimeout(timer);
    heard.catch(() => undefined);
  }
}

function parsed(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}
