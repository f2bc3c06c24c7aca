import { expect, test } from 'vitest';
import { StopPlan } from './stopping.ts';

test('intake ends first, then what was opened last, and a step that fails keeps none from running', async () => {
  const ran: string[] = [];
  const step = (name: string, fails = false) => ({
    name,
    async run() {
      ran.push(name);
      if (fails) throw new Error('broken');
    },
  });
  const plan = new StopPlan();
  plan.connections.push(step('database'), step('NATS'));
  plan.own.push(step('own 1'), step('own 2', true));
  plan.intake.push(step('consumers'));
  expect(await plan.run(new AbortController().signal)).toEqual({ open: [], failed: ['own 2: broken'] });
  expect(ran).toEqual(['consumers', 'own 2', 'own 1', 'NATS', 'database']);
});

test('what is still open when the time is up is named', async () => {
  const time = new AbortController();
  const plan = new StopPlan();
  plan.intake.push(
    { name: 'quick', run: async () => undefined },
    { name: 'stuck', run: () => new Promise<void>(() => setImmediate(() => time.abort())) },
  );
  plan.connections.push({ name: 'never reached', run: async () => undefined });
  expect(await plan.run(time.signal)).toEqual({ open: ['stuck', 'never reached'], failed: [] });
});
