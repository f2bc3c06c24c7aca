import { expect, test } from 'vitest';
import { ipv4Network, ipv4Number, ipv4Overlap, ipv4Text, parseIpv4Network } from './ipv4.ts';

test.each(['0.0.0.0', '10.20.0.10', '192.168.255.1', '255.255.255.255'])(
  '%s is a number and back',
  (text) => {
    expect(ipv4Text(ipv4Number(text) ?? -1)).toBe(text);
  },
);

test.each([
  '',
  '10.20.0',
  '10.20.0.256',
  '10.020.0.1',
  '::1',
  '10.20.0.1/24',
  '1.2.3.4.',
  '1..2.3',
  ' 1.2.3.4',
])('"%s" is no address', (text) => {
  expect(ipv4Number(text)).toBeUndefined();
});

test('a network has the addresses that share its prefix', () => {
  const { first, last } = ipv4Network(ipv4Number('200.20.7.99') ?? 0, 22);
  expect([ipv4Text(first), ipv4Text(last)]).toEqual(['200.20.4.0', '200.20.7.255']);
  expect(ipv4Network(5, 0)).toEqual({ first: 0, last: 2 ** 32 - 1 });
});

test('networks are read with and without a prefix, and wrong ones are not', () => {
  expect(parseIpv4Network('10.0.0.7')).toEqual(parseIpv4Network('10.0.0.7/32'));
  expect(parseIpv4Network('10.0.0.7/24')).toEqual(parseIpv4Network('10.0.0.0/24'));
  for (const wrong of ['10.0.0.7/33', '10.0.0.7/', '10.0.0/8', '/8', '10.0.0.0/8/8']) {
    expect(parseIpv4Network(wrong)).toBeUndefined();
  }
});

test('ranges overlap when they share an address', () => {
  expect(ipv4Overlap({ first: 1, last: 5 }, { first: 5, last: 9 })).toBe(true);
  expect(ipv4Overlap({ first: 6, last: 9 }, { first: 1, last: 5 })).toBe(false);
});
