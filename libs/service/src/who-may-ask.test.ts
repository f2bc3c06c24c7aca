import type { IncomingHttpHeaders } from 'node:http';
import { expect, test } from 'vitest';
import { unwelcome } from './who-may-ask.ts';

const token = 'a-token-of-this-test';
const local = { host: '127.0.0.1:8080' };
const known = { ...local, authorization: `Bearer ${token}` };
const codeOf = (headers: IncomingHttpHeaders, of?: string) => unwelcome(headers, of)?.code;

test('with a token, who shows it may ask, under whatever name; who does not may not', () => {
  expect(codeOf(known, token)).toBeUndefined();
  expect(codeOf({ ...known, host: 'console.example:443' }, token)).toBeUndefined();
  expect(codeOf({ authorization: `bearer  ${token}` }, token)).toBeUndefined();
  expect(codeOf(local, token)).toBe('TokenMissing');
  for (const authorization of [token, `Basic ${token}`, `Bearer ${token}x`, 'Bearer ', `Bearer ${token} x`])
    expect(codeOf({ ...local, authorization }, token)).toBe('TokenWrong');
});

test('without one, who calls this machine by a name of its own may ask', () => {
  for (const host of ['127.0.0.1:8080', 'localhost', 'LOCALHOST:1', '[::1]:8080', '127.1.2.3'])
    expect([host, codeOf({ host })]).toEqual([host, undefined]);
  for (const host of [
    undefined,
    '',
    'evil.example',
    'localhost.evil.example:8080',
    '127.0.0.1.evil.example',
    '10.0.0.1',
  ])
    expect([host, codeOf({ host })]).toEqual([host, 'ForeignHost']);
});

test('no page of another site may ask, with the token or without', () => {
  for (const page of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://127.0.0.1:9090' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: 'http://127.0.0.1:8080', 'sec-fetch-site': 'cross-site' },
  ]) {
    expect(codeOf({ ...local, ...page })).toBe('ForeignPage');
    expect(codeOf({ ...known, ...page }, token)).toBe('ForeignPage');
  }
  const own = { origin: 'http://127.0.0.1:8080', 'sec-fetch-site': 'same-origin' };
  expect(codeOf({ ...local, ...own })).toBeUndefined();
  expect(codeOf({ ...local, 'sec-fetch-site': 'none' })).toBeUndefined();
});

test('a body is JSON and says so; what has none need not', () => {
  const body = { ...local, 'content-length': '2' };
  for (const type of ['application/json', 'Application/JSON; charset=utf-8'])
    expect(codeOf({ ...body, 'content-type': type })).toBeUndefined();
  for (const type of [undefined, 'text/plain', 'application/json-seq', 'text/plain; x=application/json'])
    expect(codeOf({ ...body, 'content-type': type })).toBe('NotJson');
  expect(codeOf({ ...local, 'transfer-encoding': 'chunked', 'content-type': 'text/plain' })).toBe('NotJson');
  expect(codeOf({ ...local, 'content-type': 'text/plain', 'content-length': '0' })).toBeUndefined();
});
