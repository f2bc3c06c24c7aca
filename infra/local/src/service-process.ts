/**
 * One service as a process of its own: started, watched until it is ready, stopped or killed, started again.
 * Its output goes to a log file, whose end is shown when it does not become ready.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { eventually, Fault } from '@backhaul/kernel';

const READY_MILLISECONDS = 30_000;
const STOP_MILLISECONDS = 15_000;

export class ServiceProcess {
  readonly name: string;
  readonly #options: {
    main: string;
    environment: Record<string, string>;
    logFile: string;
    readyFile: string;
  };
  #child: ChildProcess | undefined;
  #exited: Promise<number | null> = Promise.resolve(null);
  #port = 0;
  #stopped = false;

  constructor(
    name: string,
    options: { main: string; environment: Record<string, string>; logFile: string; readyFile: string },
  ) {
    this.name = name;
    this.#options = options;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }
  get logFile(): string {
    return this.#options.logFile;
  }
  /** Resolves with the exit code (null: killed) when the process that runs now has ended. */
  get exited(): Promise<number | null> {
    return this.#exited;
  }

  async start(): Promise<void> {
    this.#stopped = false;
    const { main, environment, logFile, readyFile } = this.#options;
    await rm(readyFile, { force: true });
    // Stopped while it was about to start again: a child started now would be nobody's.
    if (this.#stopped) return;
    const output = openSync(logFile, 'a', 0o600);
    const child = spawn(process.execPath, [main], {
      // Its port stays the same over restarts, so that clients find it again.
      env: {
        ...process.env,
        ...environment,
        BACKHAUL_READY_FILE: readyFile,
        BACKHAUL_HTTP_PORT: String(this.#port),
      },
      stdio: ['ignore', output, output],
      // A session of its own: Ctrl-C in a terminal is for us, and we stop our parts in their order.
      detached: true,
    });
    closeSync(output);
    this.#child = child;
    let ended = false;
    this.#exited = new Promise((resolve) => {
      const end = (code: number | null): void => {
        ended = true;
        resolve(code);
      };
      child.once('exit', end);
      child.once('error', () => end(1));
    });
    this.#port = await eventually(`Service ${this.name} being ready`, READY_MILLISECONDS, async () => {
      if (ended)
        throw new Fault(`Service ${this.name} ended before it was ready:\n${await this.#lastLines()}`);
      const ready = await readFile(readyFile, 'utf8').catch(() => undefined);
      const { pid, port } = ready === undefined ? {} : (JSON.parse(ready) as { pid?: number; port?: number });
      return pid === child.pid ? port : undefined;
    });
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** Asks it to end, and ends it when it does not. */
  async stop(): Promise<number | null> {
    this.#stopped = true;
    this.#child?.kill('SIGTERM');
    const late = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MILLISECONDS);
    try {
      return await this.#exited;
    } finally {
      clearTimeout(late);
    }
  }

  /** What it said last, as a person would say it, and where the rest is. */
  async lastWords(): Promise<string> {
    const line = (await this.#lastLines()).split('\n').at(-1) ?? '';
    return `${wordsOf(line)} (${this.logFile})`;
  }

  async #lastLines(): Promise<string> {
    const text = await readFile(this.#options.logFile, 'utf8').catch(() => '');
    return text.trim().split('\n').slice(-15).join('\n');
  }
}

/** Of a line of a service's log; one that is no JSON was said before there was a log. */
function wordsOf(line: string): string {
  try {
    const { msg, error } = JSON.parse(line) as { msg?: string; error?: string };
    return [msg, error].filter((part) => part !== undefined).join(': ') || line;
  } catch {
    return line;
  }
}
