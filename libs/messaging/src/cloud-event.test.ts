import type { Recorded } from '@backhaul/contracts';
import fc from 'fast-check';
import { headers as natsHeaders } from 'nats';
import { expect, test } from 'vitest';
import { decodeEvent, decodeHeaderValue, encodeEvent, encodeHeaderValue } from './cloud-event.ts';

const claimed: Recorded<'VmClaimed'> = {
  type: 'VmClaimed',
  data: { hostId: 'h1', vmId: 'web-1', runId: 'b0b9b3a4-3d53-5c9e-9a0f-6a2f5a3c7d11' },
  eventId: '0a1b9b3a-3d53-4c9e-9a0f-6a2f5a3c7d12',
  position: 7,
  stream: 'vm-h1.web-1',
  category: 'vm',
  version: 2,
  schemaVersion: 2,
  metadata: { correlation: 'c', causation: 'r', actor: 'Zoë "the ops"\n' },
  recordedAt: '2026-01-02T03:04:05.678Z',
};

test('an event reads back as it was recorded', () => {
  expect(decodeEvent(encodeEvent('trigger', claimed))).toEqual(claimed);
});

test('any text survives the headers of NATS, line breaks and surrounding spaces too', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
      const carried = natsHeaders();
      carried.set('x-actor', encodeHeaderValue(text));
      expect(decodeHeaderValue(carried.get('x-actor'))).toBe(text.toWellFormed());
    }),
  );
});

test.each([
  ['no ce-id', { 'ce-id': '' }, 'ce-id'],
  ['a position that is no number', { 'x-position': 'seven' }, 'x-position'],
  ['the type of another stream', { 'ce-type': 'BackupTriggered' }, 'BackupTriggered'],
  ['a header that cannot be decoded', { 'x-actor': '%E0%A4%A' }, 'cannot be read'],
])('a message with %s is refused for good, naming what is wrong', (_, changed, named) => {
  const message = encodeEvent('trigger', claimed);
  expect(() => decodeEvent({ ...message, headers: { ...message.headers, ...changed } })).toThrowError(
    expect.objectContaining({ permanent: true, message: expect.stringContaining(named) }),
  );
});

test('a body that is not JSON is refused for good', () => {
  expect(() => decodeEvent({ ...encodeEvent('trigger', claimed), body: Buffer.from('{') })).toThrowError(
    expect.objectContaining({ permanent: true, code: 'MalformedMessage' }),
  );
});

test('an event published where it does not belong is refused for good', () => {
  expect(() =>
    decodeEvent({ ...encodeEvent('trigger', claimed), subject: 'evt.trigger.vm.other.VmClaimed' }),
  ).toThrowError(/published elsewhere/);
});

test('a type from a newer release is no error: it says nothing to us', () => {
  const message = encodeEvent('trigger', claimed);
  const headers = { ...message.headers, 'ce-type': 'VmTeleported' };
  expect(decodeEvent({ ...message, headers })).toBeUndefined();
});

test('a version from a newer release is left to that release, and nothing of it is stripped', () => {
  const newer = { ...claimed, schemaVersion: 3, data: { ...claimed.data, lane: 'fast' } };
  const message = encodeEvent('trigger', newer);
  expect(JSON.parse(Buffer.from(message.body).toString())).toEqual(newer.data);
  expect(() => decodeEvent(message)).toThrowError(
    expect.objectContaining({ permanent: false, code: 'NewerRelease' }),
  );
});

test('an event that was stored in an older version travels in that one, and is lifted where it is received', () => {
  const { runId, ...of } = claimed.data;
  const older = { ...claimed, schemaVersion: 1, data: { ...of, backupId: runId } };
  expect(decodeEvent(encodeEvent('trigger', older))).toEqual(claimed);
});
