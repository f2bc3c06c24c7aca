/** A channel that keeps no messages apart: every answer is taken for that of its own command. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startAgent } from '../testing/stand-in-agent.ts';
import { GuestAgent } from './guest-agent.ts';

const milliseconds = 10_000;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-agent-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a freeze that is answered late is not taken for the thaw: only the answer of the thaw itself confirms it', async () => {
  let go = (): void => undefined;
  const gone = new Promise<void>((resolve) => {
    go = resolve;
  });
  const path = join(folder, 'agent');
  const standIn = await startAgent(path, {
    before: (command) => (command === 'guest-fsfreeze-freeze' ? gone : undefined),
    refuses: { 'guest-fsfreeze-thaw': 'busy' },
  });
  const agent = await GuestAgent.connect(path, milliseconds);
  await expect(agent.freeze(20)).rejects.toThrow('longer than 20 ms');
  const thaw = agent.thaw(milliseconds);
  go();
  await expect(thaw).rejects.toThrow('busy');
  expect(await agent.isFrozen(milliseconds)).toBe(true);
  agent.close();
  await standIn.close();
});
