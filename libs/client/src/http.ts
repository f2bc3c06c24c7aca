/** One HTTP exchange with a service of Backhaul. What fails says which service, where, and what to do about it. */
import { consoleApi } from '@backhaul/contracts';
import { describeError, Fault } from '@backhaul/kernel';
import type { z } from 'zod';

const ANSWER_MILLISECONDS_MAX = 30_000;

/** A service answered, and the answer was a problem (RFC 9457). */
export class ProblemFault extends Fault {
  override readonly name = 'ProblemFault';
  readonly problem: consoleApi.Problem;

  constructor(problem: consoleApi.Problem) {
    super(problem.wayOut === undefined ? problem.detail : `${problem.detail} ${problem.wayOut}`, {
      permanent: problem.status < 500,
      code: problem.code,
    });
    this.problem = problem;
  }
}

export interface Service {
  /** For people: `console`. */
  readonly name: string;
  readonly url: string;
  /** Shown with everything that is asked. */
  readonly token?: string | undefined;
}

export interface Exchange {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** Throws a ProblemFault where the service says no, and a Fault with code `Unreachable` where there is no answer. */
export async function exchange<Schema extends z.ZodType>(
  service: Service,
  asked: Exchange,
  answer: Schema,
): Promise<z.output<Schema>> {
  const timeUp = AbortSignal.timeout(ANSWER_MILLISECONDS_MAX);
  const signal = asked.signal === undefined ? timeUp : AbortSignal.any([asked.signal, timeUp]);
  const response = await reach(service, { ...asked, signal });
  const body: unknown = await response.json().catch((cause: unknown) => {
    throw new Fault(`The ${service.name} at ${service.url} answered ${asked.path} with no JSON`, { cause });
  });
  const checked = answer.safeParse(body);
  if (!checked.success) {
    throw new Fault(
      `The ${service.name} at ${service.url} answers ${asked.path} otherwise than this client understands. Are both of the same release?`,
      { cause: checked.error, permanent: true },
    );
  }
  return checked.data;
}

/** The response, when it is a good one; its body is still to be read. */
export async function reach(service: Service, asked: Exchange): Promise<Response> {
  const url = new URL(asked.path, service.url);
  for (const [name, value] of Object.entries(asked.query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  const response = await fetch(url, {
    method: asked.method ?? 'GET',
    headers: {
      ...(service.token === undefined ? {} : { authorization: `Bearer ${service.token}` }),
      ...(asked.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...asked.headers,
    },
    ...(asked.body === undefined ? {} : { body: JSON.stringify(asked.body) }),
    ...(asked.signal === undefined ? {} : { signal: asked.signal }),
  }).catch((cause: unknown) => {
    throw new Fault(`The ${service.name} cannot be reached at ${service.url}: ${describeError(cause)}`, {
      cause,
      code: 'Unreachable',
    });
  });
  if (response.ok) return response;
  throw new ProblemFault(await problemOf(service, response));
}

async function problemOf(service: Service, response: Response): Promise<consoleApi.Problem> {
  const text = await response.text().catch(() => '');
  try {
    return consoleApi.Problem.parse(JSON.parse(text));
  } catch {
    return {
      type: 'about:blank',
      title: response.statusText,
      status: response.status,
      code: `Http${response.status}`,
      detail: `The ${service.name} at ${service.url} answered ${response.status} ${response.statusText}${text === '' ? '' : `: ${text.slice(0, 200)}`}.`,
    };
  }
}
