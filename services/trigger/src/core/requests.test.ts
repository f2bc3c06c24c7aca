import { expect, test } from 'vitest';
import { readRequest } from './requests.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const json = (value: unknown) => bytes(JSON.stringify(value));
const good = { requestId: 'r1', host: 'lab', vm: 'web-1' };

test('a request that fits is understood, with its defaults', () => {
  expect(readRequest('BackupRequested', json(good))).toEqual({
    ok: true,
    value: { name: 'BackupRequested', body: { ...good, kind: 'auto', mode: 'auto', policy: 'default' } },
  });
});

test('what came by a path or a header wins over the body', () => {
  const read = readRequest('BackupRequested', json(good), { over: { requestId: 'from-header' } });
  expect(read).toMatchObject({ value: { body: { requestId: 'from-header' } } });
});

test('what has a default stands only where the body says nothing', () => {
  const { requestId: _, ...anonymous } = good;
  const under = { requestId: 'made-up' };
  expect(readRequest('BackupRequested', json(good), { under })).toMatchObject({
    value: { body: { requestId: 'r1' } },
  });
  expect(readRequest('BackupRequested', json(anonymous), { under })).toMatchObject({
    value: { body: { requestId: 'made-up' } },
  });
});

test('what is not JSON, not UTF-8 or no object is refused, and kept as text', () => {
  for (const body of [bytes('{"requestId": "r1"'), new Uint8Array([0xff, 0xfe]), bytes('')]) {
    expect(readRequest('BackupRequested', body)).toMatchObject({
      refusal: { code: 'MalformedJson', requestId: undefined, request: new TextDecoder().decode(body) },
    });
  }
  expect(readRequest('BackupRequested', bytes('[1]'))).toMatchObject({ refusal: { code: 'InvalidRequest' } });
});

test('every field that does not fit is named, and the request id is found for the answer', () => {
  const read = readRequest('BackupRequested', json({ ...good, vm: '../etc', kind: 'some', extra: 1 }));
  expect(read).toMatchObject({ refusal: { code: 'InvalidRequest', requestId: 'r1' } });
  expect(!read.ok && read.refusal.message).toMatch(/vm: must be 1 to 63.*kind: .*"extra"/);
});

test('of a request with thousands of wrong fields the first are named, in few words, and how many more there are', () => {
  const wrong = (length: number) => Array.from({ length }, () => '!');
  const body = { requestId: 'r1', backup: '6f1fba4c-65cb-5d3c-9d53-5a8e0a4d8e38', host: 'lab', vm: 'web-1' };
  const read = readRequest('RecoveryRequested', json({ ...body, disks: wrong(1_000) }));
  const message = read.ok ? '' : read.refusal.message;
  expect(message).toMatch(/disks\.0: must be 1 to 63 .*disks\.17: .*; and 980 more\.$/);
  expect(message.length).toBeLessThan(2_200);
  const misspelt = Object.fromEntries(wrong(30_000).map((_, index) => [`field${index}`, 1]));
  const strange = readRequest('RecoveryRequested', json({ ...body, ...misspelt }));
  expect(!strange.ok && strange.refusal.message).toMatch(/"field0".* characters more\)/);
  expect(!strange.ok && strange.refusal.message.length).toBeLessThan(2_200);
  const many = readRequest('RecoveryRequested', json({ ...body, disks: wrong(30_000) }));
  expect(!many.ok && many.refusal.message).toMatch(/ fit: disks: .*1000 items\.$/);
});

test('an unknown request is refused with the names that there are, also names that every object has', () => {
  for (const name of ['EverythingDeleted', 'toString', '__proto__']) {
    expect(readRequest(name, json(good))).toMatchObject({
      refusal: {
        code: 'UnknownRequest',
        requestId: 'r1',
        wayOut: expect.stringContaining('BackupRequested'),
      },
    });
  }
});

test('a misspelt field of a policy is refused and not taken for its default', () => {
  const read = readRequest('PolicyRequested', json({ requestId: 'r1', policy: { maxProxyPerHost: 1 } }));
  expect(!read.ok && read.refusal.message).toContain('maxProxyPerHost');
});
