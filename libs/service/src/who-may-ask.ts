/**
 * Who may ask a service over HTTP (docs/adr/0024). Decided from the head of a request alone, before any route sees it: no page of
 * another site, nobody without the token where there is one, and no body that a page could send without asking first.
 * Health and metrics are not asked about here.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface Unwelcome {
  readonly status: 401 | 403 | 415;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly wayOut: string;
}

/** Undefined: this request may be answered. */
export function unwelcome(headers: IncomingHttpHeaders, token: string | undefined): Unwelcome | undefined {
  if (isOfAnotherSite(headers)) return foreignPage(headers.origin ?? 'another site');
  // A name that somebody else's DNS turns into this machine makes a page of theirs a page of ours. The token is proof enough.
  if (token === undefined && !isLoopback(hostOf(headers.host) ?? ''))
    return foreignName(headers.host ?? 'nobody');
  if (token !== undefined && !isToken(headers.authorization, token)) return stranger(headers.authorization);
  if (hasBody(headers) && !/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? ''))
    return notJson(headers['content-type']);
  return undefined;
}

export const isLoopback = (host: string): boolean =>
  /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|\[::1\])$/i.test(host);

/** Browsers say it; who is no browser says nothing. Another port of the same machine is another site, too. */
function isOfAnotherSite({ origin, host, 'sec-fetch-site': site }: IncomingHttpHeaders): boolean {
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true;
  return origin !== undefined && (host === undefined || URL.parse(origin)?.host !== host.toLowerCase());
}

const hostOf = (host: string | undefined): string | undefined => URL.parse(`http://${host ?? ''}`)?.hostname;

/** Compared by digest: how long it takes tells nothing of the token. */
function isToken(authorization: string | undefined, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  return given !== undefined && timingSafeEqual(digestOf(given), digestOf(token));
}
const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

const hasBody = ({
  'content-length': length = '0',
  'transfer-encoding': encoding,
}: IncomingHttpHeaders): boolean => encoding !== undefined || length !== '0';

const foreignPage = (origin: string): Unwelcome => ({
  status: 403,
  code: 'ForeignPage',
  title: 'A page of another site may not ask',
  detail: `This request was made by a web page of ${origin}.`,
  wayOut: 'Ask from a program, with the token.',
});

const foreignName = (host: string): Unwelcome => ({
  status: 403,
  code: 'ForeignHost',
  title: 'Asked under a name that is not its own',
  detail: `Without a token this service answers as localhost only, and was asked as ${host}.`,
  wayOut: 'Ask it as 127.0.0.1, or set BACKHAUL_API_TOKEN for the service and for whoever asks.',
});

const stranger = (authorization: string | undefined): Unwelcome => ({
  status: 401,
  code: authorization === undefined ? 'TokenMissing' : 'TokenWrong',
  title: 'Whoever asks has to show the token',
  detail:
    authorization === undefined
      ? 'The request carries no token.'
      : 'The request carries another token than the one of this deployment.',
  wayOut:
    'Send it as "Authorization: Bearer <token>": apiToken in the file that "backhaul up" writes, elsewhere the BACKHAUL_API_TOKEN of the service. The command line takes it from either.',
});

const notJson = (type: string | undefined): Unwelcome => ({
  status: 415,
  code: 'NotJson',
  title: 'A body is JSON here',
  detail:
    type === undefined ? 'The body has no content-type.' : `The body is said to be ${type.slice(0, 80)}.`,
  wayOut: 'Send it with content-type: application/json.',
});
