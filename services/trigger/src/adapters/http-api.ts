/**
 * The same requests over HTTP. Answers are JSON; what is refused is a problem document (RFC 9457) with `code`, `message`
 * and `wayOut` beside the members that the RFC names. `Idempotency-Key` is the request id.
 * Who may ask is settled before anything here (libs/service/src/who-may-ask.ts).
 *
 * | call | body: the request of `libs/contracts/src/requests.ts`, less what is in the path | answered |
 * | --- | --- | --- |
 * | `POST /api/v1/backups` | `BackupRequested` | 202 and `backupId` |
 * | `DELETE /api/v1/backups/<backupId>` | `BackupCancellationRequested` | 200 |
 * | `POST /api/v1/backups/<backupId>/pause`, `.../resume` | `BackupPauseRequested`, `BackupResumeRequested` | 200 |
 * | `POST /api/v1/recoveries` | `RecoveryRequested` | 202 and `recoveryId` |
 * | `DELETE /api/v1/recoveries/<recoveryId>` | `RecoveryCancellationRequested` | 200 |
 * | `POST /api/v1/recoveries/<recoveryId>/pause`, `.../resume` | `RecoveryPauseRequested`, `RecoveryResumeRequested` | 200 |
 * | `PUT`, `DELETE /api/v1/schedules/<scheduleId>` | `ScheduleRequested`, `ScheduleRemovalRequested` | 200 |
 * | `PUT /api/v1/policies/<policyId>` | the policy | 200 |
 * | `PATCH /api/v1/policies/<policyId>` | what changes in the policy | 200 |
 * | `PATCH /api/v1/host-policies/<hostId>`, `PATCH /api/v1/deployment-policy` | what changes in the host's, or in the deployment's, policy | 200 |
 * | `POST /api/v1/dead-letters/<number>/redrive` | `RedriveRequested` | 200 |
 */
import { randomUUID } from 'node:crypto';
import type { Answer, RequestName } from '@backhaul/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Schedules } from '../fire-schedules.ts';
import { handleRequest } from '../handle-request.ts';
import type { Desk } from '../subjects.ts';

/** Accepted, and not done yet. */
const startsWork: ReadonlySet<RequestName> = new Set(['BackupRequested', 'RecoveryRequested']);

const BODY_BYTES_MAX = 64 * 1024;

export function serveHttp(
  http: FastifyInstance,
  desk: Desk,
  schedules: Schedules,
  tell: (answer: Answer) => void,
): void {
  // Bodies stay bytes: one reader understands requests, whichever way they come.
  http.removeAllContentTypeParsers();
  http.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer', bodyLimit: BODY_BYTES_MAX },
    (_request, body: Buffer, done) => done(null, body),
  );

  const take = async (
    request: FastifyRequest,
    reply: FastifyReply,
    name: RequestName,
    fields: Record<string, unknown>,
    body = bodyOf(request),
  ): Promise<FastifyReply> => {
    const key = idempotencyKey(request);
    const { traceparent } = request.headers;
    const handled = await handleRequest(desk, schedules, {
      name,
      body,
      fields: {
        over: key === undefined ? fields : { ...fields, requestId: key },
        under: { requestId: randomUUID() },
      },
      via: 'http',
      messageId: `http-${randomUUID()}`,
      ...(typeof traceparent === 'string' ? { traceparent } : {}),
    });
    if (handled.alsoTell !== undefined) tell(handled.alsoTell);
    const refusal = handled.answer?.refusal ?? handled.notUnderstood;
    if (refusal !== undefined)
      return await sendProblem(request, reply, refusal, handled.answer ?? handled.notUnderstood);
    return await reply.code(startsWork.has(name) ? 202 : 200).send(handled.answer);
  };

  http.post('/api/v1/backups', (request, reply) => take(request, reply, 'BackupRequested', {}));

  http.delete<{ Params: { id: string } }>('/api/v1/backups/:id', (request, reply) =>
    take(request, reply, 'BackupCancellationRequested', { backupId: request.params.id }),
  );

  http.post<{ Params: { id: string } }>('/api/v1/backups/:id/pause', (request, reply) =>
    take(request, reply, 'BackupPauseRequested', { backupId: request.params.id }),
  );

  http.post<{ Params: { id: string } }>('/api/v1/backups/:id/resume', (request, reply) =>
    take(request, reply, 'BackupResumeRequested', { backupId: request.params.id }),
  );

  http.post('/api/v1/recoveries', (request, reply) => take(request, reply, 'RecoveryRequested', {}));

  http.delete<{ Params: { id: string } }>('/api/v1/recoveries/:id', (request, reply) =>
    take(request, reply, 'RecoveryCancellationRequested', { recoveryId: request.params.id }),
  );

  http.post<{ Params: { id: string } }>('/api/v1/recoveries/:id/pause', (request, reply) =>
    take(request, reply, 'RecoveryPauseRequested', { recoveryId: request.params.id }),
  );

  http.post<{ Params: { id: string } }>('/api/v1/recoveries/:id/resume', (request, reply) =>
    take(request, reply, 'RecoveryResumeRequested', { recoveryId: request.params.id }),
  );

  http.put<{ Params: { id: string } }>('/api/v1/schedules/:id', (request, reply) =>
    take(request, reply, 'ScheduleRequested', { scheduleId: request.params.id }),
  );

  http.delete<{ Params: { id: string } }>('/api/v1/schedules/:id', (request, reply) =>
    take(request, reply, 'ScheduleRemovalRequested', { scheduleId: request.params.id }),
  );

  // The body is the policy itself; its name is the path's.
  http.put<{ Params: { id: string } }>('/api/v1/policies/:id', (request, reply) =>
    take(request, reply, 'PolicyRequested', {}, asPolicyRequest(bodyOf(request), request.params.id)),
  );

  // The body is what changes, and no more.
  http.patch<{ Params: { id: string } }>('/api/v1/policies/:id', (request, reply) => {
    const policy = { policy: request.params.id };
    return take(request, reply, 'PolicyChangeRequested', policy, asChanges(bodyOf(request)));
  });

  http.patch<{ Params: { id: string } }>('/api/v1/host-policies/:id', (request, reply) => {
    const host = { host: request.params.id };
    return take(request, reply, 'HostPolicyRequested', host, asChanges(bodyOf(request)));
  });

  http.patch('/api/v1/deployment-policy', (request, reply) =>
    take(request, reply, 'DeploymentPolicyRequested', {}, asChanges(bodyOf(request))),
  );

  http.post<{ Params: { id: string } }>('/api/v1/dead-letters/:id/redrive', (request, reply) =>
    take(request, reply, 'RedriveRequested', { letter: request.params.id }),
  );

  http.setNotFoundHandler((request, reply) =>
    sendProblem(request, reply, {
      code: 'NoSuchRoute',
      message: `There is no ${request.method} ${request.url.split('?')[0]}.`,
    }),
  );

  http.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const status = error.statusCode ?? 500;
    const refusal =
      status < 500
        ? { code: 'BadRequest', message: error.message }
        : {
            code: 'NotNow',
            message: 'The request could not be carried out now. It may have been kept all the same.',
            wayOut: 'Send it again with the same Idempotency-Key: it will be done once.',
          };
    return sendProblem(request, reply, refusal, undefined, status < 500 ? status : 503);
  });
}

const statusOf: Record<string, number> = {
  MalformedJson: 400,
  NoSuchRoute: 404,
  UnknownBackup: 404,
  UnknownRecovery: 404,
  UnknownSchedule: 404,
  UnknownDeadLetter: 404,
  VmBusy: 409,
  AlreadyEnded: 409,
  TooLate: 409,
  PauseUnavailable: 409,
  BackupWasRefused: 409,
  BackupCancelled: 409,
  RecoveryWasRefused: 409,
  RecoveryCancelled: 409,
  AlreadyRedriven: 409,
  RunIsOver: 409,
};

type RunAndRequest = { readonly [F in 'requestId' | 'backupId' | 'recoveryId']?: string | undefined };

async function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  { code, message, wayOut }: { code: string; message: string; wayOut?: string | undefined },
  named: RunAndRequest = {},
  status = statusOf[code] ?? 422,
): Promise<FastifyReply> {
  return await reply
    .code(status)
    .type('application/problem+json')
    .send(
      JSON.stringify({
        type: `urn:backhaul:problem:${code}`,
        title: code,
        status,
        detail: message,
        instance: request.url,
        code,
        message,
        wayOut,
        requestId: named.requestId,
        backupId: named.backupId,
        recoveryId: named.recoveryId,
      }),
    );
}

/** A call without a body asks with an empty object: everything it needs may be in its path. */
const bodyOf = ({ body }: FastifyRequest): Uint8Array =>
  body instanceof Uint8Array && body.byteLength > 0 ? body : Buffer.from('{}');

const asPolicyRequest = (body: Uint8Array, policyId: string): Uint8Array =>
  rewritten(body, (policy) => ({ policy: typeof policy === 'object' ? { ...policy, policyId } : policy }));

const asChanges = (body: Uint8Array): Uint8Array => rewritten(body, (changes) => ({ changes }));

/** What is not JSON stays as it is: the reader says what is wrong with it. */
function rewritten(body: Uint8Array, rewrite: (value: unknown) => object): Uint8Array {
  try {
    return Buffer.from(JSON.stringify(rewrite(JSON.parse(Buffer.from(body).toString('utf8')))));
  } catch {
    return body;
  }
}

function idempotencyKey({ headers }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key'];
  // The draft of the header has it as a quoted string; most clients send it bare.
  return typeof key === 'string' ? key.replace(/^"(.*)"$/, '$1') : undefined;
}
