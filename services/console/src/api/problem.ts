/** What goes wrong at the API, as RFC 9457 problem documents: each names the thing, and the way out. */
import type { consoleApi } from '@backhaul/contracts';
import { describeError, Fault } from '@backhaul/kernel';
import type { FastifyReply } from 'fastify';

export const PROBLEM_TYPE = 'application/problem+json';

export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  readonly problem: consoleApi.Problem;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    problem: { status: number; code: string; title: string; detail: string; wayOut?: string },
    retryAfterSeconds?: number,
  ) {
    super(problem.detail);
    this.problem = { type: `urn:backhaul:problem:${problem.code}`, ...problem };
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export const notFound = (detail: string, wayOut: string): ApiProblem =>
  new ApiProblem({ status: 404, code: 'NotFound', title: 'There is no such thing', detail, wayOut });

export const badRequest = (code: string, detail: string, wayOut: string): ApiProblem =>
  new ApiProblem({ status: 400, code, title: 'The request cannot be understood', detail, wayOut });

export const unavailable = (code: string, detail: string, wayOut: string): ApiProblem =>
  new ApiProblem({ status: 503, code, title: 'Not at the moment', detail, wayOut }, 5);

/** Whatever was thrown, as a problem. Faults that may pass are 503; what is left is a failure of the console itself. */
export function problemOf(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  const status = (error as { statusCode?: number }).statusCode;
  if (status !== undefined && status >= 400 && status < 500) {
    return badRequest('BadRequest', describeError(error), 'See /api/v1/openapi.json for what is understood.');
  }
  if (error instanceof Fault && !error.permanent) {
    return unavailable(
      'Unavailable',
      `The console cannot reach its log: ${describeError(error)}`,
      'Try again shortly.',
    );
  }
  return new ApiProblem({
    status: 500,
    code: 'Failure',
    title: 'The console failed',
    detail: describeError(error),
    wayOut: 'The log of the console has more. A failure that stays is a bug: please report it.',
  });
}

export function sendProblem(reply: FastifyReply, { problem, retryAfterSeconds }: ApiProblem): FastifyReply {
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', String(retryAfterSeconds));
  const instance = reply.request.url;
  return reply
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify({ ...problem, instance }));
}
