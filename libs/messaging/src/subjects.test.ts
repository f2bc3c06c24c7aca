import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeToken, encodeToken, eventFilter, eventSubject } from './subjects.ts';

const text = fc.string({ unit: 'binary', maxLength: 40 });

test('any id becomes one token that means nothing else to NATS, and comes back as it was', () => {
  fc.assert(
    fc.property(text, (id) => {
      const token = encodeToken(id);
      expect(token).toMatch(/^[A-Za-z0-9_=-]+$/);
      expect(decodeToken(token)).toBe(id);
    }),
  );
});

test('two ids never share a token', () => {
  fc.assert(fc.property(text, text, (a, b) => (encodeToken(a) === encodeToken(b)) === (a === b)));
});

test('the subject of an event has five tokens, whatever is in the name of its stream', () => {
  expect(eventSubject('trigger', { stream: 'vm-h1.web-1', type: 'VmClaimed' })).toBe(
    'evt.trigger.vm.h1=2Eweb-1.VmClaimed',
  );
  expect(eventFilter('VmClaimed')).toBe('evt.trigger.vm.*.VmClaimed');
});
