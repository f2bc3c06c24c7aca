import type { EventData } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { type DeadLetterEvent, deadLetter, whyPointless } from './dead-letter.ts';

const redrive = (change: Partial<EventData<'DeadLetterRedriven'>> = {}): EventData<'DeadLetterRedriven'> => ({
  deadLetterId: '17',
  consumer: 'planner__plan',
  subject: 'evt.trigger.backup.b1.BackupTriggered',
  messageId: 'm1',
  eventId: null,
  failure: 'the host lab is not configured',
  requestId: 'r1',
  reason: 'lab is configured now',
  requestedBy: 'ops',
  redrivenAt: '2026-03-01T08:00:00.000Z',
  ...change,
});
const redriven = (change = {}): DeadLetterEvent => ({ type: 'DeadLetterRedriven', data: redrive(change) });
const decide = (history: readonly DeadLetterEvent[], change = {}) =>
  deadLetter.decide(fold(deadLetter.evolve, deadLetter.initialState, history), {
    type: 'RedriveDeadLetter',
    redrive: redrive(change),
  });

describe('a dead letter', () => {
  test('is sent again', () => {
    expect(decide([])).toEqual({ ok: true, value: [redriven()] });
  });

  test('is sent again once by the same request, however late it comes again', () => {
    expect(decide([redriven()], { redrivenAt: '2026-03-02T08:00:00.000Z' })).toEqual({ ok: true, value: [] });
  });

  test('is not sent again by another request, which is told of the first', () => {
    expect(decide([redriven()], { requestId: 'r2' })).toMatchObject({
      ok: false,
      refusal: {
        code: 'AlreadyRedriven',
        message: 'Dead letter 17 was sent again at 2026-03-01T08:00:00.000Z by ops: lab is configured now.',
      },
    });
  });

  test('of a run that ended when its plan was given up is not sent again; what was sent before stays sent', () => {
    const refusal = { code: 'PlanningFailed', message: 'Vm web on host lab could not be planned: no luck.' };
    const over = { backupId: 'b1', hostId: 'lab', vmId: 'web', refusal } as never;
    const pointless = whyPointless('17', [{ type: 'PlanRefused', data: over }]);
    const ask = (history: readonly DeadLetterEvent[]) =>
      deadLetter.decide(fold(deadLetter.evolve, deadLetter.initialState, history), {
        ...{ type: 'RedriveDeadLetter', redrive: redrive(), pointless },
      });
    expect(ask([])).toMatchObject({
      ok: false,
      refusal: { code: 'RunIsOver', message: expect.stringMatching(/backup of vm web .*: no luck\./) },
    });
    expect(ask([redriven()])).toEqual({ ok: true, value: [] });
    expect(whyPointless('17', [])).toBeUndefined();
  });

  test('that came back is another letter of the same message, and is sent again as any', () => {
    const again = { deadLetterId: '23', requestId: 'r2' };
    expect(decide([redriven()], again)).toEqual({ ok: true, value: [redriven(again)] });
    expect(decide([redriven(), redriven(again)], { requestId: 'r3' })).toMatchObject({ ok: false });
  });
});
