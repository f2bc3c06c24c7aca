/** `backhaul redrive`: a message that a service gave up is sent to it again, for whatever was in its way has been mended. */
import { randomUUID } from 'node:crypto';
import type { CommandContext } from '../command.ts';
import { refused } from '../exit.ts';
import { json } from '../terminal.ts';

export interface RedriveFlags {
  readonly reason?: string;
  readonly requestId?: string;
  readonly json?: boolean;
}

export async function redrive(letter: string, flags: RedriveFlags, context: CommandContext): Promise<void> {
  const answer = await (await context.locations.requester()).redriveDeadLetter({
    requestId: flags.requestId ?? randomUUID(),
    letter,
    requestedBy: `cli ${context.environment.USER ?? ''}`.trim(),
    ...(flags.reason === undefined ? {} : { reason: flags.reason }),
  });
  if (!answer.ok) throw refused(answer.refusal);
  if (flags.json === true) return context.terminal.out(json(answer.value));
  context.terminal.out(
    `Dead letter ${letter} is sent again. "backhaul dead-letters --all" shows whether it comes back.`,
  );
}
