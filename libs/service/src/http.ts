/**
 * One port for everything: health and metrics answer from the first moment and until the last, the service's own routes
 * only between a finished start and the beginning of the stop.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { describeError, Fault, invariant } from '@backhaul/kernel';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import type { Readiness } from './readiness.ts';
import { type Unwelcome, unwelcome } from './who-may-ask.ts';

const PROBLEM_TYPE = 'application/problem+json';

const notReady = {
  status: 503,
  code: 'NotReady',
  title: 'Not at the moment',
  detail: 'The service is starting or stopping, or waits for what it needs: /health/ready says which.',
  wayOut: 'Send it again in a moment.',
};

export interface ServiceHttp {
  /** Where the service adds its routes, before its start has finished. */
  readonly routes: FastifyInstance;
  listen(host: string, port: number): Promise<number>;
  /** From now on the routes answer. */
  open(): Promise<void>;
  /** New requests are refused; resolves when those at work have been answered. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

export function serviceHttp(options: {
  readiness: Readiness;
  registry: Registry;
  /** The service has routes of its own, and so has to know who may ask. */
  isAsked: boolean;
  /** What whoever asks them has to show. */
  token: string | undefined;
  onError(error: unknown, request: string): void;
}): ServiceHttp {
  const shell = Fastify();
  const routes = Fastify();
  let isOpen = false;
  let atWork = 0;
  let idle: (() => void) | undefined;

  shell.get('/health/live', () => ({ status: 'live' }));
  shell.get('/health/ready', async (_, reply) => {
    const report = await options.readiness.report();
    return await reply.code(report.ready ? 200 : 503).send(report);
  });
  shell.get('/metrics', async (_, reply) => {
    return await reply.type(options.registry.contentType).send(await options.registry.metrics());
  });
  shell.setNotFoundHandler(async (request, reply) => {
    const problem = problemOf(notReady, request.url);
    return await reply.code(503).header('retry-after', '1').type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
  routes.addHook('onRoute', ({ url }) => {
    invariant(
      options.isAsked,
      `A service that answers ${url} is asked over HTTP, and its definition has to say so`,
    );
  });
  routes.addHook('onError', (request, _, error, done) => {
    options.onError(error, `${request.method} ${request.url}`);
    done();
  });

  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const isShells = /^\/(health\/|metrics\b)/.test(request.url ?? '');
    if (isShells || !isOpen) {
      shell.routing(request, response);
      return;
    }
    const refusal = unwelcome(request.headers, options.token);
    if (refusal !== undefined) {
      turnAway(request, response, refusal);
      return;
    }
    atWork += 1;
    response.once('close', () => {
      atWork -= 1;
      if (atWork === 0) idle?.();
    });
    routes.routing(request, response);
  };
  const server = createServer(serve);

  return {
    routes,
    async listen(host, port) {
      await shell.ready();
      await new Promise<void>((resolve, reject) => {
        server.once('error', (cause) =>
          reject(
            new Fault(`Listening on ${host}:${port} failed: ${describeError(cause)}`, {
              cause,
              permanent: true,
            }),
          ),
        );
        server.listen(port, host, resolve);
      });
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : port;
    },
    async open() {
      await routes.ready();
      isOpen = true;
    },
    async drain() {
      isOpen = false;
      if (atWork > 0) await new Promise<void>((resolve) => (idle = resolve));
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await Promise.all([closed, routes.close(), shell.close()]);
    },
  };
}

/** The body is not waited for: the connection ends. */
function turnAway(request: IncomingMessage, response: ServerResponse, refusal: Unwelcome): void {
  const { status } = refusal;
  response.writeHead(status, {
    'content-type': PROBLEM_TYPE,
    connection: 'close',
    ...(status === 401 ? { 'www-authenticate': 'Bearer realm="backhaul"' } : {}),
  });
  response.end(JSON.stringify(problemOf(refusal, request.url)));
}

/** RFC 9457. */
const problemOf = (said: { readonly code: string }, instance: string | undefined): object => ({
  type: `urn:backhaul:problem:${said.code}`,
  ...said,
  instance,
});
