/**
 * Where an export is. Source: doc/uri.md of the NBD project, all sections. Before any byte is sent.
 * TLS (`nbds`, `nbds+unix`) is refused, as "Clients which do not support TLS" asks; so is anything not understood,
 * because a part that is ignored may be the part that mattered.
 */
import { Fault } from '@backhaul/kernel';

export type Endpoint =
  | { readonly kind: 'unix'; readonly socketPath: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface NbdLocation {
  readonly endpoint: Endpoint;
  readonly exportName: string;
}

/** "If the port field is not present": assigned by IANA. */
const DEFAULT_PORT = 10_809;
const EXPORT_NAME_BYTES_MAX = 4096;
const SHAPE = /^(?<scheme>[a-z+]+):\/\/(?<authority>[^/?#]*)(?:\/(?<path>[^?#]*))?(?:\?(?<query>[^#]*))?$/i;
const AUTHORITY = /^(?:\[(?<v6>[0-9a-f:.%]+)\]|(?<name>[^:@[\]]+))(?::(?<port>\d{1,5}))?$/i;

/** Throws a permanent Fault that quotes the URI and says what is wrong with it. */
export function parseUri(uri: string): NbdLocation {
  const wrong = (why: string): Fault =>
    new Fault(`${JSON.stringify(uri)} is not an NBD URI this client can use: ${why}`, {
      permanent: true,
      code: 'BadUri',
    });
  const parts = SHAPE.exec(uri)?.groups;
  if (parts === undefined)
    throw wrong('it must look like nbd://host:port/export or nbd+unix:///export?socket=/path');
  const decode = (text: string): string => {
    try {
      return decodeURIComponent(text);
    } catch (cause) {
      throw new Fault(wrong('a percent sign is not followed by UTF-8').message, { cause, permanent: true });
    }
  };

  const scheme = (parts.scheme ?? '').toLowerCase();
  const authority = parts.authority ?? '';
  const exportName = decode(parts.path ?? '');
  if (exportName.includes('\0')) throw wrong('an export name cannot hold NUL');
  if (Buffer.byteLength(exportName) > EXPORT_NAME_BYTES_MAX)
    throw wrong(`an export name holds at most ${EXPORT_NAME_BYTES_MAX} bytes`);

  let socketPath: string | undefined;
  for (const parameter of (parts.query ?? '').split('&').filter((part) => part !== '')) {
    const [key, ...value] = parameter.split('=');
    if (key === 'socket') socketPath = decode(value.join('='));
    // "Clients SHOULD prefix experimental query parameters using x-": not ours, so no meaning for us.
    else if (key?.startsWith('x-') !== true) throw wrong(`the parameter ${key} is not understood`);
  }

  switch (scheme) {
    case 'nbd+unix':
      if (authority !== '') throw wrong('a host has no place beside a Unix socket');
      if (socketPath === undefined || socketPath === '') throw wrong('the parameter socket is missing');
      return { endpoint: { kind: 'unix', socketPath }, exportName };
    case 'nbd': {
      if (socketPath !== undefined) throw wrong('the parameter socket belongs to nbd+unix');
      const host = AUTHORITY.exec(authority)?.groups;
      const port = Number(host?.port ?? DEFAULT_PORT);
      if (host === undefined || port < 1 || port > 65_535)
        throw wrong('it must name a host and may name a port');
      return { endpoint: { kind: 'tcp', host: host.v6 ?? decode(host.name ?? ''), port }, exportName };
    }
    case 'nbds':
    case 'nbds+unix':
      throw wrong('TLS is not spoken here');
    default:
      throw wrong(`the scheme ${scheme} is not known`);
  }
}

/** For people, in faults. */
export const endpointLine = (endpoint: Endpoint): string =>
  endpoint.kind === 'unix' ? `unix:${endpoint.socketPath}` : `${endpoint.host}:${endpoint.port}`;
