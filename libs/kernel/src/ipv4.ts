/** IPv4 addresses as the numbers that they are, and networks of them. What is written wrongly is undefined, and never taken for another. */
/** First and last address, both of it. */
export interface Ipv4Range {
  readonly first: number;
  readonly last: number;
}

/** Four decimal numbers without leading zeroes, which some would read as octal. */
const ADDRESS = /^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/;

export function ipv4Number(text: string): number | undefined {
  const parts = ADDRESS.test(text) ? text.split('.').map(Number) : [];
  if (parts.length !== 4 || parts.some((part) => part > 255)) return undefined;
  return parts.reduce((number, part) => number * 256 + part, 0);
}

export const ipv4Text = (number: number): string =>
  [24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join('.');

/** All addresses that have the first `prefix` bits, 0 to 32, of this one: the first names the network, the last is its broadcast. */
export function ipv4Network(address: number, prefix: number): Ipv4Range {
  const size = 2 ** (32 - prefix);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1 };
}

/** `10.20.0.0/24`, or one address: `10.20.0.7`, which is `/32`. */
export function parseIpv4Network(text: string): Ipv4Range | undefined {
  const [, written = '', prefix = '32'] = /^([^/]+)(?:\/(\d{1,2}))?$/.exec(text) ?? [];
  const address = ipv4Number(written);
  return address === undefined || Number(prefix) > 32 ? undefined : ipv4Network(address, Number(prefix));
}

export const ipv4Overlap = (one: Ipv4Range, other: Ipv4Range): boolean =>
  one.first <= other.last && other.first <= one.last;
