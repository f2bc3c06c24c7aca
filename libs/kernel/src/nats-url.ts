/**
 * What a NATS URL says. The client of NATS takes servers apart from who logs in, and silently ignores a password that stands in a URL;
 * whoever runs NATS writes both in one line. Pure.
 */
import { Fault } from './fault.ts';

/** As the client's `connect` takes it. */
export interface NatsAddress {
  readonly servers: string[];
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
  /** Present: the connection is encrypted or not made. */
  readonly tls?: Record<string, never>;
}

/**
 * `nats://host:4222`, several separated by commas; `tls://` for an encrypted connection (a private authority: NODE_EXTRA_CA_CERTS);
 * `nats://user:password@host` or `nats://token@host`, percent-encoded, the same in each that has one. Throws a permanent Fault that does not
 * repeat the secret.
 */
export function natsAddress(text: string): NatsAddress {
  const urls = text.split(',').map((each) => parsed(each.trim()));
  const logins = new Set(urls.filter(({ username }) => username !== '').map(loginOf));
  if (logins.size > 1) throw wrong('names several logins: one stands for all servers');
  const schemes = new Set(urls.map(({ protocol }) => protocol));
  if (schemes.size > 1) throw wrong('mixes nats:// and tls://');
  const login = urls.find(({ username }) => username !== '');
  return {
    servers: urls.map(({ host }) => host),
    ...(login === undefined ? {} : credentials(login)),
    ...(schemes.has('tls:') ? { tls: {} } : {}),
  };
}

/** For logs and errors. */
export const withoutNatsPassword = (text: string): string => text.replaceAll(/\/\/[^@/,]*@/g, '//');

function parsed(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['nats:', 'tls:'].includes(url.protocol) || url.hostname === '')
    throw wrong('is no URL such as nats://127.0.0.1:4222');
  return url;
}

const loginOf = ({ username, password }: URL): string => `${username}:${password}`;

function credentials({ username, password }: URL): Pick<NatsAddress, 'user' | 'pass' | 'token'> {
  const [user, pass] = [decodeURIComponent(username), decodeURIComponent(password)];
  return pass === '' ? { token: user } : { user, pass };
}

const wrong = (what: string): Fault => new Fault(`The address of NATS ${what}`, { permanent: true });
