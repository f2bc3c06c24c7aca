/** The OpenAPI 3.1 document of the API, made from the routes and the schemas that check and type them. */
import { consoleApi } from '@backhaul/contracts';
import { z } from 'zod';
import { PROBLEM_TYPE } from './problem.ts';
import type { Route } from './route.ts';

export function openApi(routes: readonly Route[]): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = `/api/v1${route.path.replace(':id', '{id}')}`;
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Backhaul console',
      version: '1',
      description:
        'What the projections of the log say. Nothing here starts or changes a backup or a recovery. Every answer carries `asOf`: the position in the log up to which it is true.',
    },
    paths,
    security: [{ token: [] }],
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: jsonSchema(consoleApi.Problem, 'output') },
    },
  };
}

function operation({ path, summary, query, answer, status, mediaType = 'application/json' }: Route): object {
  const problem = {
    description: 'What is in the way, and the way out',
    content: { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
  };
  return {
    operationId: path.replace(/[:/]+(\w)/g, (_, letter: string) => letter.toUpperCase()).replace(/\W/g, ''),
    summary,
    parameters: [
      ...(path.includes(':id')
        ? [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }]
        : []),
      ...Object.entries(query.shape).map(([name, schema]) => ({
        name,
        in: 'query',
        required: false,
        ...(schema instanceof z.ZodType && schema.description !== undefined
          ? { description: schema.description }
          : {}),
        schema: jsonSchema(schema as z.ZodType, 'input'),
      })),
    ],
    responses: {
      [status]: {
        description: 'The answer',
        content: { [mediaType]: { schema: jsonSchema(answer, 'output') } },
      },
      default: problem,
    },
  };
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
