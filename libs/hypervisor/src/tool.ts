/**
 * The one way this package runs a program: with a time-out, a bound on what it may print, and errors that carry what
 * the program itself said, because "exited with status 1" helps nobody.
 */
import { execFile } from 'node:child_process';
import { Fault, MiB } from '@backhaul/kernel';

export interface ToolOutput {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ToolOptions {
  readonly milliseconds: number;
  /** Exit codes that are answers rather than failures. Default: 0 alone. */
  readonly exitCodes?: readonly number[];
  readonly outputBytesMax?: number;
  /** For its standard input, which is closed behind it. Default: left open, and empty. */
  readonly input?: string;
}

/**
 * Throws a Fault: code `ToolMissing` when there is no such program, `TimedOut` when it was ended for taking too long,
 * `ToolFailed` with its standard error for every exit code not asked for.
 */
export async function runTool(
  command: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<ToolOutput> {
  const line = [command, ...args].join(' ');
  return await new Promise((resolve, reject) => {
    const settings = {
      timeout: options.milliseconds,
      killSignal: 'SIGKILL',
      maxBuffer: options.outputBytesMax ?? 16 * MiB,
      // Messages are matched on, and must not come in the language of the machine. Some programs are where only root looks by itself.
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    } as const;
    const child = execFile(command, args, settings, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : error.code;
      if (typeof exitCode === 'number' && (options.exitCodes ?? [0]).includes(exitCode)) {
        resolve({ exitCode, stdout, stderr });
        return;
      }
      reject(toolFault(line, options.milliseconds, error, stderr.trim() || stdout.trim()));
    });
    if (options.input === undefined) return;
    // One that ends without reading says why itself.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input);
  });
}

function toolFault(
  line: string,
  milliseconds: number,
  error: (Error & { code?: unknown; killed?: boolean }) | null,
  said: string,
): Fault {
  if (error?.code === 'ENOENT') {
    return new Fault(`There is no program for "${line}"`, { code: 'ToolMissing', permanent: true });
  }
  if (error?.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') {
    return new Fault(`"${line}" printed more than it may`, { code: 'ToolFailed' });
  }
  if (error?.killed === true) {
    return new Fault(`"${line}" took longer than ${milliseconds} ms and was ended`, { code: 'TimedOut' });
  }
  return new Fault(`"${line}" failed: ${said === '' ? String(error?.message) : lastPart(said)}`, {
    code: 'ToolFailed',
  });
}

/** The end of a long text: programs say last why they gave up. */
export const lastPart = (text: string, charactersMax = 2000): string =>
  text.length <= charactersMax ? text : `…${text.slice(-charactersMax)}`;
