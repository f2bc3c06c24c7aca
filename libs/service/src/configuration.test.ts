import { expect, test } from 'vitest';
import { z } from 'zod';
import { baseConfiguration, readConfiguration } from './configuration.ts';

const right = {
  BACKHAUL_POSTGRES_URL: 'postgresql://u:p@localhost:5432/b',
  BACKHAUL_NATS_URL: 'nats://a:4222, nats://b:4222',
};

test('what is not said has a default', () => {
  expect(readConfiguration(baseConfiguration, right)).toMatchObject({
    value: { BACKHAUL_HTTP_HOST: '127.0.0.1', BACKHAUL_HTTP_PORT: 0, BACKHAUL_SHUTDOWN_SECONDS: 30 },
  });
});

test("what is written is its own user's alone unless something else is said", () => {
  const umaskOf = (more: object) => {
    const read = readConfiguration(baseConfiguration, { ...right, ...more });
    return read.ok ? read.value.BACKHAUL_UMASK : read.refusal;
  };
  expect([{}, { BACKHAUL_UMASK: '027' }, { BACKHAUL_UMASK: '0007' }].map(umaskOf)).toEqual([0o077, 0o027, 7]);
});

test('every wrong variable gets one line with its name, what is wrong, and an example', () => {
  const read = readConfiguration(baseConfiguration, {
    BACKHAUL_POSTGRES_URL: 'mysql://root:hunter2@db/b',
    BACKHAUL_NATS_URL: '',
    BACKHAUL_HTTP_PORT: '70000',
    BACKHAUL_LOG_LEVEL: 'loud',
    BACKHAUL_UMASK: '78',
  });
  const lines = read.ok ? [] : read.refusal;
  expect(lines).toEqual([
    'BACKHAUL_POSTGRES_URL: must be a URL of PostgreSQL, for example postgresql://backhaul_trigger:secret@127.0.0.1:5432/backhaul',
    'BACKHAUL_NATS_URL: is not set, for example nats://127.0.0.1:4222',
    'BACKHAUL_HTTP_PORT: must be a whole number from 0 to 65535, for example 8080',
    expect.stringMatching(/^BACKHAUL_LOG_LEVEL: .*"trace".*, for example info$/),
    'BACKHAUL_UMASK: must be three octal digits, for example 077',
  ]);
});

test('a secret that is wrong is not shown', () => {
  const read = readConfiguration(baseConfiguration, {
    ...right,
    BACKHAUL_POSTGRES_URL: 'mysql://hunter2@db',
  });
  expect(JSON.stringify(read)).not.toContain('hunter2');
});

test('the variables of a service are checked with those of every service', () => {
  const schema = z.object({ ...baseConfiguration.shape, BACKHAUL_REPOSITORY: z.string().min(1) });
  expect(readConfiguration(schema, right)).toEqual({
    ok: false,
    refusal: ['BACKHAUL_REPOSITORY: is not set'],
  });
});
