import { describe, expect, test } from 'vitest';
import { natsAddress, withoutNatsPassword } from './nats-url.ts';

describe('the address of NATS', () => {
  test.each([
    ['nats://127.0.0.1:4222', { servers: ['127.0.0.1:4222'] }],
    ['nats://a, nats://b:4223', { servers: ['a', 'b:4223'] }],
    ['nats://[::1]:4222', { servers: ['[::1]:4222'] }],
    ['nats://s3cret@a:4222', { servers: ['a:4222'], token: 's3cret' }],
    [
      'nats://up%40stream:p%2Fw%3A@a:4222,nats://b',
      { servers: ['a:4222', 'b'], user: 'up@stream', pass: 'p/w:' },
    ],
    ['tls://u:p@a', { servers: ['a'], user: 'u', pass: 'p', tls: {} }],
  ])('%s', (text, address) => {
    expect(natsAddress(text)).toEqual(address);
  });

  test.each([
    ['nats://u:secret@a,nats://u:other@b', 'several logins'],
    ['nats://u:secret@a,tls://b', 'mixes'],
    ['http://u:secret@a', 'no URL such as'],
    ['secret', 'no URL such as'],
    ['', 'no URL such as'],
  ])('%s is refused, and the secret is not repeated', (text, reason) => {
    expect(() => natsAddress(text)).toThrow(reason);
    expect(() => natsAddress(text)).not.toThrow('secret');
  });

  test('is shown without its password', () => {
    expect(withoutNatsPassword('nats://u:p@a:1, nats://token@b')).toBe('nats://a:1, nats://b');
  });
});
