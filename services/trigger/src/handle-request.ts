/**
 * One door for every request, whichever way it came: read, carried out, answered. What cannot be understood is kept as it came where nobody
 * waits for the answer: as a dead letter, and where a run was asked for as a refused one. Over HTTP the answer is all there is of it.
 */
import {
  type Answer,
  deploymentPolicyStream,
  hostPolicyStream,
  type Origin,
  type Purpose,
} from '@backhaul/contracts';
import { type EventTransaction, logTime } from '@backhaul/event-store';
import { derivedId, type Result } from '@backhaul/kernel';
import { idOf } from './core/answers.ts';
import { policyStream } from './core/policy.ts';
import { type Fields, type NotUnderstood, readRequest, type Understood } from './core/requests.ts';
import type { RunName } from './core/run.ts';
import { scheduleStream } from './core/schedule.ts';
import type { Wish } from './core/wish.ts';
import type { Schedules } from './fire-schedules.ts';
import { redriveLetter } from './redrive-letter.ts';
import type { Cause, Desk } from './subjects.ts';
import { takeCancellation, takePauseOrResume } from './take-orders.ts';
import { keepRefused, takeRequest } from './take-requests.ts';

export interface Incoming {
  readonly name: string;
  readonly body: Uint8Array;
  readonly fields?: Fields;
  readonly via: Exclude<Origin['via'], 'schedule'>;
  /** Stable over redelivery of the same message. */
  readonly messageId: string;
  readonly traceparent?: string;
}

export interface Handled {
  /** Undefined when it was not understood. */
  readonly answer: Answer | undefined;
  /** Set when the request could not be understood, and so will not be better when it is sent again. */
  readonly notUnderstood: NotUnderstood | undefined;
  /** Somebody else to tell: the one whose backup or recovery was cancelled by this request. */
  readonly alsoTell: Answer | undefined;
}

export async function handleRequest(
  desk: Desk,
  schedules: Schedules,
  incoming: Incoming,
  transaction?: EventTransaction,
): Promise<Handled> {
  const read = readRequest(incoming.name, incoming.body, incoming.fields);
  if (!read.ok) {
    if (incoming.via === 'nats') await keepUnreadable(desk, incoming, read.refusal);
    return { notUnderstood: read.refusal, answer: undefined, alsoTell: undefined };
  }
  const cause: Cause = {
    causation: incoming.messageId,
    actor: requesterOf(read.value) ?? 'trigger',
    ...(incoming.traceparent === undefined ? {} : { traceparent: incoming.traceparent }),
  };
  const carriedOut = await carryOut(desk, schedules, read.value, incoming.via, cause, transaction);
  return { notUnderstood: undefined, alsoTell: undefined, ...carriedOut };
}

async function carryOut(
  desk: Desk,
  schedules: Schedules,
  understood: Understood,
  via: Incoming['via'],
  cause: Cause,
  transaction: EventTransaction | undefined,
): Promise<{ answer: Answer; alsoTell?: Answer | undefined }> {
  const { name, body } = understood;
  const { requestId } = body;
  /** One command to one stream of its own. */
  const context = (stream: string) => ({
    commandId: derivedId(name, requestId, JSON.stringify(body)),
    metadata: { ...cause, correlation: stream },
  });
  const requestedBy = requesterOf(understood);
  const request = async (wish: Wish) => {
    const origin: Origin = { via, requestId, ...(requestedBy === undefined ? {} : { requestedBy }) };
    return { answer: await takeRequest(desk, wish, origin, cause, transaction) };
  };
  const ordersFor = (run: RunName, reason: string) => ({ ...run, requestId, reason, by: requestedBy ?? via });
  const cancel = async (run: RunName, reason: string) => {
    const result = await takeCancellation(desk, ordersFor(run, reason), cause, transaction);
    return {
      answer: { ...answerOf(requestId, result), ...idOf(run) },
      alsoTell: result.ok ? result.value.told : undefined,
    };
  };
  const order = async (type: 'Pause' | 'Resume', run: RunName, reason: string) => {
    const result = await takePauseOrResume(desk, type, ordersFor(run, reason), cause, transaction);
    return { answer: { ...answerOf(requestId, result), ...idOf(run) } };
  };
  switch (name) {
    case 'BackupRequested':
      return await request({ purpose: 'backup', request: body });
    case 'RecoveryRequested':
      return await request({ purpose: 'recovery', request: body });
    case 'BackupCancellationRequested':
      return await cancel({ purpose: 'backup', runId: body.backupId }, body.reason);
    case 'RecoveryCancellationRequested':
      return await cancel({ purpose: 'recovery', runId: body.recoveryId }, body.reason);
    case 'BackupPauseRequested':
      return await order('Pause', { purpose: 'backup', runId: body.backupId }, body.reason);
    case 'BackupResumeRequested':
      return await order('Resume', { purpose: 'backup', runId: body.backupId }, body.reason);
    case 'RecoveryPauseRequested':
      return await order('Pause', { purpose: 'recovery', runId: body.recoveryId }, body.reason);
    case 'RecoveryResumeRequested':
      return await order('Resume', { purpose: 'recovery', runId: body.recoveryId }, body.reason);
    case 'ScheduleRequested': {
      const { requestId: _, host: hostId, vm: vmId, policy: policyId, ...rest } = body;
      // The clock that its due times are held against.
      const definedAt = await logTime(transaction ?? desk.store);
      const definition = { ...rest, hostId, vmId, policyId, definedAt };
      const stream = scheduleStream(body.scheduleId);
      const command = { type: 'DefineSchedule' as const, definition };
      return {
        answer: answerOf(requestId, await schedules.execute(stream, command, context(stream), transaction)),
      };
    }
    case 'ScheduleRemovalRequested': {
      const stream = scheduleStream(body.scheduleId);
      const command = {
        type: 'RemoveSchedule' as const,
        scheduleId: body.scheduleId,
        removedAt: await logTime(transaction ?? desk.store),
      };
      return {
        answer: answerOf(requestId, await schedules.execute(stream, command, context(stream), transaction)),
      };
    }
    case 'PolicyRequested': {
      const stream = policyStream(body.policy.policyId);
      const command = { type: 'DefinePolicy' as const, policy: body.policy, definedAt: desk.now() };
      return {
        answer: answerOf(
          requestId,
          await desk.policies.execute(stream, command, context(stream), transaction),
        ),
      };
    }
    case 'PolicyChangeRequested': {
      const { policy: policyId, changes } = body;
      const stream = policyStream(policyId);
      const command = { type: 'ChangePolicy' as const, policyId, changes, definedAt: desk.now() };
      const changed = await desk.policies.execute(stream, command, context(stream), transaction);
      return { answer: answerOf(requestId, changed) };
    }
    case 'HostPolicyRequested': {
      const { host: hostId, changes } = body;
      const stream = hostPolicyStream(hostId);
      const hostKnown = desk.knowsHost(hostId);
      const command = {
        type: 'ChangeHostPolicy' as const,
        ...{ hostId, hostKnown, changes, definedAt: desk.now() },
      };
      const changed = await desk.limits.ofHosts.execute(stream, command, context(stream), transaction);
      return { answer: answerOf(requestId, changed) };
    }
    case 'DeploymentPolicyRequested': {
      const stream = deploymentPolicyStream;
      const { changes } = body;
      const command = { type: 'ChangeDeploymentPolicy' as const, changes, definedAt: desk.now() };
      const changed = await desk.limits.ofDeployment.execute(stream, command, context(stream), transaction);
      return { answer: answerOf(requestId, changed) };
    }
    case 'RedriveRequested':
      return { answer: await redriveLetter(desk, body, via, cause, transaction) };
  }
}

const answerOf = (requestId: string, result: Result<unknown>): Answer =>
  result.ok ? { requestId, outcome: 'accepted' } : { requestId, outcome: 'refused', refusal: result.refusal };

/**
 * On a stream named after the message and not after the request id, which stays free for the request as it should have
 * been. Outside the transaction of the message, which ends as a dead letter.
 */
async function keepUnreadable(
  desk: Desk,
  { name, messageId, via, traceparent }: Incoming,
  { requestId, request, ...refusal }: NotUnderstood,
): Promise<void> {
  const purpose = purposeOf[name];
  // Settings and orders are no runs: of these the dead letter is the record.
  if (purpose === undefined) return;
  await keepRefused(
    desk,
    {
      purpose,
      runId: derivedId('unreadable', messageId, request),
      origin: { via, requestId: requestId ?? messageId },
      refusal,
      request,
    },
    { causation: messageId, actor: 'trigger', ...(traceparent === undefined ? {} : { traceparent }) },
  );
}

const purposeOf: Readonly<Record<string, Purpose>> = {
  BackupRequested: 'backup',
  RecoveryRequested: 'recovery',
};

const requesterOf = ({ body }: Understood): string | undefined =>
  'requestedBy' in body ? body.requestedBy : undefined;
