/** How a command ends. The numbers are a contract: scripts match on them. */
import { describeError, Fault, type Refusal, refusalLine } from '@backhaul/kernel';

export const exitCodes = {
  ok: 0,
  /** It was tried, and failed: the world, or the backup itself. */
  failed: 1,
  /** The command was not understood, or lacks something. */
  usage: 2,
  /** Backhaul said no, with its reason and the way out. */
  refused: 3,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The end of a command, for people: one line with the thing and the way out. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, line: string, options: { cause?: unknown } = {}) {
    super(line, options);
    this.exitCode = exitCode;
  }
}

export const usage = (line: string): CommandFailure => new CommandFailure(exitCodes.usage, line);
export const refused = (refusal: Refusal): CommandFailure =>
  new CommandFailure(exitCodes.refused, refusalLine(refusal));
export const failed = (line: string): CommandFailure => new CommandFailure(exitCodes.failed, line);

/** One line: the whole chain of causes, because the real error is mostly the last. */
export function lineOf(error: unknown): string {
  const line = error instanceof CommandFailure ? error.message : describeError(error);
  return line.replace(/\s*\n\s*/g, ' ');
}

/** For `--verbose`: each cause on a line of its own, with its code and where it was thrown. */
export function causesOf(error: unknown): string[] {
  const lines: string[] = [];
  let current = error instanceof Error ? error.cause : undefined;
  for (; current instanceof Error; current = current.cause) {
    const code = current instanceof Fault ? current.code : (current as { code?: string }).code;
    const where = /\n\s+at (.*)/.exec(current.stack ?? '')?.[1];
    lines.push(
      `  because: ${current.message}${code === undefined ? '' : ` [${code}]`}${where === undefined ? '' : ` (${where})`}`,
    );
  }
  return lines;
}
