import { Fault } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { knownOf, untilAnswered } from './until-answered.ts';

test('what may pass is tried again until it is answered; what is permanent is thrown at once', async () => {
  const left: unknown[] = [new Fault('down'), new Fault('not now', { code: 'NotNow' })];
  const answer = await untilAnswered(
    knownOf('r1'),
    async () => {
      const fault = left.shift();
      if (fault !== undefined) throw fault;
      return 'yes';
    },
    10_000,
  );
  expect(answer).toBe('yes');
  let asked = 0;
  const never = untilAnswered(
    knownOf('r1'),
    async () => {
      asked += 1;
      throw new Fault('no', { permanent: true });
    },
    10_000,
  );
  await expect(never).rejects.toThrow(/^no$/);
  expect(asked).toBe(1);
});

test('when nobody answers, the id under which it may be sent again is told, and what was in the way', async () => {
  const down = async (): Promise<never> => {
    throw new Fault('The trigger cannot be reached', { code: 'Unreachable' });
  };
  const stopped = untilAnswered(knownOf('my-id'), down, 60_000, AbortSignal.abort());
  await expect(stopped).rejects.toThrow(/Request my-id .* may have been taken/);
  await expect(untilAnswered(knownOf('my-id'), down, 0)).rejects.toMatchObject({
    message: expect.stringMatching(/Request my-id .* may have been taken/),
    cause: { message: 'The trigger cannot be reached' },
    code: 'Unreachable',
  });
});
