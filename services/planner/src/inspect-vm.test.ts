/** What becomes of faults: the host here fails on purpose, which the real one does not do when it is told to. */
import { AssertionError } from 'node:assert';
import { type Inspection, Policy } from '@backhaul/contracts';
import { derivedId, Fault, ok, type Result } from '@backhaul/kernel';
import type { TriggeredBackup } from '@backhaul/planning';
import { expect, test } from 'vitest';
import { inspectVm } from './inspect-vm.ts';

const triggered: TriggeredBackup = {
  backupId: derivedId('backup', 'r1'),
  hostId: 'lab',
  vmId: 'web-1',
  kind: 'auto',
  mode: 'auto',
  policy: Policy.parse({}),
  priority: 'normal',
  origin: { via: 'nats', requestId: 'r1' },
  requestedAt: '2026-01-01T00:00:00.000Z',
  parent: null,
};
const inspection: Inspection = {
  hostId: 'lab',
  vmId: 'web-1',
  disks: [],
  modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
};
const patience = { attempts: 3, firstDelayMilliseconds: 1 };

function asking(answers: (() => Result<Inspection>)[], signal = new AbortController().signal) {
  const seen: number[] = [];
  let calls = 0;
  const inspect = async () => (answers[Math.min(calls++, answers.length - 1)] as () => Result<Inspection>)();
  const hostNamed = async (hostId: string) => (hostId === 'lab' ? { inspect } : undefined);
  const onFault = (_: unknown, attempt: number) => seen.push(attempt);
  return {
    seen,
    run: (asked = triggered) => inspectVm(hostNamed, asked, signal, onFault, patience),
  };
}
const throwing = (error: Error) => () => {
  throw error;
};
const socketClosed = new Fault('Asking for extents failed', {
  cause: new Fault('the socket closed', { code: 'ECONNRESET' }),
});

test('a fault that mends is not noticed by the backup', async () => {
  const host = asking([throwing(socketClosed), throwing(socketClosed), () => ok(inspection)]);
  expect(await host.run()).toEqual(ok(inspection));
  expect(host.seen).toEqual([1, 2]);
});

test('a fault that does not mend becomes a refusal with the whole chain of causes', async () => {
  expect(await asking([throwing(socketClosed)]).run()).toEqual({
    ok: false,
    refusal: {
      code: 'ECONNRESET',
      message:
        'Inspecting VM web-1 on host lab failed 3 times: Asking for extents failed: the socket closed.',
      wayOut: expect.any(String),
    },
  });
});

test('a permanent fault is not tried again', async () => {
  const host = asking([throwing(new Fault('qemu-img is missing', { permanent: true, code: 'ToolMissing' }))]);
  expect(await host.run()).toMatchObject({ refusal: { code: 'ToolMissing' } });
  expect(host.seen).toEqual([1]);
});

test('a host that is not configured is refused by name', async () => {
  expect(await asking([]).run({ ...triggered, hostId: 'elsewhere' })).toMatchObject({
    refusal: { code: 'UnknownHost', message: expect.stringContaining('elsewhere') },
  });
});

test('a bug, and the end of the service, are no answers about the VM', async () => {
  const bug = new AssertionError({ message: 'cannot be' });
  await expect(asking([throwing(bug)]).run()).rejects.toBe(bug);
  const stopping = AbortSignal.abort(new Error('stopping'));
  await expect(asking([throwing(socketClosed)], stopping).run()).rejects.toThrow('stopping');
});
