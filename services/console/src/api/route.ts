/**
 * A route as data: what is asked, what is answered, and how. From the same declaration come the check of a request, the
 * handler and the OpenAPI document, so the three cannot drift apart.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ApiProblem, badRequest, sendProblem } from './problem.ts';

export interface Call<Query> {
  /** The part of the path that names one thing; empty where there is none. */
  readonly id: string;
  readonly query: Query;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

export interface Route {
  readonly method: 'GET' | 'POST';
  /** With `:id` where it names one thing. */
  readonly path: string;
  readonly summary: string;
  readonly query: z.ZodObject;
  readonly answer: z.ZodType;
  readonly status: number;
  /** What it answers with; JSON where nothing is said. */
  readonly mediaType?: string;
  handle(call: Call<Record<string, unknown>>): Promise<unknown>;
}

export const noQuery = z.strictObject({});

export function route<Query extends z.ZodObject, Answer extends z.ZodType>(declared: {
  path: string;
  summary: string;
  query: Query;
  answer: Answer;
  method?: 'GET' | 'POST';
  status?: number;
  mediaType?: string;
  handle(call: Call<z.output<Query>>): Promise<z.input<Answer> | undefined>;
}): Route {
  return {
    method: 'GET',
    status: 200,
    ...declared,
    // The query was parsed by its own schema.
    handle: (call) => declared.handle(call as unknown as Call<z.output<Query>>),
  };
}

export function register(http: FastifyInstance, routes: readonly Route[]): void {
  for (const { method, path, query, status, handle } of routes) {
    http.route({
      method,
      url: path,
      handler: async (request, reply) => {
        try {
          const { id = '' } = request.params as { id?: string };
          const answer = await handle({ id, query: checked(query, request.query), request, reply });
          // A stream has taken the connection over and answers by itself.
          return answer === undefined ? reply : reply.code(status).send(answer);
        } catch (error) {
          // A refusal is an answer; what else is thrown is a failure, and is logged as one.
          if (error instanceof ApiProblem) return await sendProblem(reply, error);
          throw error;
        }
      },
    });
  }
}

function checked(schema: z.ZodObject, query: unknown): Record<string, unknown> {
  const known = Object.keys(schema.shape);
  const knownLine = known.length === 0 ? 'none is known here' : `known here: ${known.join(', ')}`;
  const result = schema.safeParse(query);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue?.code === 'unrecognized_keys') {
    throw badRequest(
      'UnknownParameter',
      `Query parameter ${issue.keys.join(', ')} is not known.`,
      `Leave it out; ${knownLine}.`,
    );
  }
  const name = String(issue?.path[0] ?? 'query');
  throw badRequest(
    'BadParameter',
    `Query parameter ${name} ${issue?.message ?? 'is wrong'}.`,
    `Correct it or leave it out; ${knownLine}.`,
  );
}

/** For a path under /api that no route has. */
export const unknownPath = (request: FastifyRequest): ApiProblem =>
  new ApiProblem({
    status: 404,
    code: 'UnknownPath',
    title: 'There is no such path',
    detail: `${request.method} ${request.url} is not part of this API.`,
    wayOut: 'See /api/v1/openapi.json for what is.',
  });
