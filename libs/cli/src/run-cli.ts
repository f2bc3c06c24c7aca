/** One run of `backhaul`: the command, and the one place where what went wrong becomes a line and an exit code. */
import { ProblemFault } from '@backhaul/client';
import { Fault } from '@backhaul/kernel';
import { CommanderError } from 'commander';
import { CommandFailure, causesOf, type ExitCode, exitCodes, lineOf } from './exit.ts';
import { backhaulProgram } from './program.ts';
import type { Terminal } from './terminal.ts';

export async function runCli(
  argv: readonly string[],
  outside: { terminal: Terminal; environment: NodeJS.ProcessEnv; signal: AbortSignal },
): Promise<ExitCode> {
  const program = backhaulProgram(outside);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    // Commander has said what it had to say: help and version end here, too.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const line = lineOf(error);
    if (line !== '') outside.terminal.note(`backhaul: ${line}${wayOutOf(error)}`);
    if (program.opts<{ verbose?: boolean }>().verbose === true) {
      for (const line of causesOf(error)) outside.terminal.note(line);
    }
    return exitCodeOf(error);
  }
}

function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandFailure) return error.exitCode;
  if (error instanceof ProblemFault && [400, 401].includes(error.problem.status)) return exitCodes.usage;
  return exitCodes.failed;
}

function wayOutOf(error: unknown): string {
  if (error instanceof Fault && error.code === 'Unreachable') {
    return '. Is it up? "backhaul up" starts everything on this machine; --console-url and --trigger-url name others.';
  }
  return '';
}
