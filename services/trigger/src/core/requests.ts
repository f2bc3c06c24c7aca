/**
 * Reads what upstream sent: bytes in, a typed request or the reason why it cannot be one out. Nothing is thrown, because
 * a bad request is expected; and as much as can be read of it is handed back, so that its sender gets an answer.
 */
import { RequestId, type RequestName, requests } from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse, shortened } from '@backhaul/kernel';
import type { z } from 'zod';

export type Understood = {
  [K in RequestName]: { readonly name: K; readonly body: z.infer<(typeof requests)[K]> };
}[RequestName];

export interface NotUnderstood extends Refusal {
  /** Undefined when none can be read: then there is nobody to answer. */
  readonly requestId: string | undefined;
  /** What came, as text. */
  readonly request: string;
}

/** Parts of a request that come by another way than its body. */
export interface Fields {
  /** From a path or a header: these win over the body. */
  readonly over?: Record<string, unknown>;
  /** These stand where the body says nothing. */
  readonly under?: Record<string, unknown>;
}

export function readRequest(
  name: string,
  body: Uint8Array,
  { over = {}, under = {} }: Fields = {},
): Result<Understood, NotUnderstood> {
  const request = new TextDecoder().decode(body);
  const json = parsed(body);
  const value = isObject(json.value) ? { ...under, ...json.value, ...over } : json.value;
  const requestId = RequestId.safeParse(isObject(value) ? value.requestId : over.requestId).data;
  const no = (refusal: Refusal): Result<Understood, NotUnderstood> =>
    refuse({ ...refusal, requestId, request });

  if (!Object.hasOwn(requests, name)) {
    return no({
      code: 'UnknownRequest',
      message: `There is no request "${name.slice(0, 100)}".`,
      wayOut: `Send one of ${Object.keys(requests).join(', ')}.`,
    });
  }
  if (json.error !== undefined) {
    return no({
      code: 'MalformedJson',
      message: `A ${name} is not JSON: ${json.error}.`,
      wayOut: 'Send a JSON object in UTF-8.',
    });
  }
  const known = name as RequestName;
  const checked = requests[known].safeParse(value);
  if (!checked.success) {
    return no({
      code: 'InvalidRequest',
      message: `A ${name} does not fit: ${issuesOf(checked.error)}.`,
      wayOut: 'Correct what is named, and send it again.',
    });
  }
  return ok({ name: known, body: checked.data } as Understood);
}

function parsed(body: Uint8Array): { value?: unknown; error?: string } {
  try {
    return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** There is an issue for every wrong item of a list, and one may name whatever was sent: the sender needs some of it. */
const ISSUES_MAX = 20;
const ISSUES_CHARACTERS_MAX = 2_000;

function issuesOf({ issues }: z.ZodError): string {
  const words = issues
    .slice(0, ISSUES_MAX)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`));
  const rest = issues.length > ISSUES_MAX ? `; and ${issues.length - ISSUES_MAX} more` : '';
  return shortened(words.join('; '), ISSUES_CHARACTERS_MAX) + rest;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
