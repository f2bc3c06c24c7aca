/**
 * A QEMU process that we start: detached, so that it outlives its caller, and found again by the files in its folder: `pid.json`,
 * `console.log` (the guest, the part before it in `console.old.log`), `qemu.log` (QEMU itself).
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Fault, MiB } from '@backhaul/kernel';
import { endProcess, isRunning, markOf, ProcessMark } from '../processes.ts';
import { readState, writeState } from '../state-file.ts';
import { lastPart } from '../tool.ts';

export interface QemuProcess {
  /** For people: "proxy p1". */
  readonly what: string;
  readonly folder: string;
}

export const QEMU = 'qemu-system-x86_64';

export const consoleOf = ({ folder }: QemuProcess): string => join(folder, 'console.log');
/** What the guest said before that, as far as it is kept. */
export const oldConsoleOf = ({ folder }: QemuProcess): string => join(folder, 'console.old.log');
export const CONSOLE_BYTES_MAX = 1 * MiB;
const logOf = ({ folder }: QemuProcess): string => join(folder, 'qemu.log');
const pidFileOf = ({ folder }: QemuProcess): string => join(folder, 'pid.json');

/** QEMU reads commas in its options as separators unless they are doubled. */
export const escaped = (path: string): string => path.replaceAll(',', ',,');

/** Whether it comes up is for the caller to ask. */
export async function startQemu(process: QemuProcess, args: readonly string[]): Promise<void> {
  await mkdir(process.folder, { recursive: true });
  const log = await open(logOf(process), 'w');
  try {
    const child = spawn(QEMU, args, { cwd: '/', detached: true, stdio: ['ignore', log.fd, log.fd] });
    await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('spawn', resolve);
    });
    child.unref();
    const mark = child.pid === undefined ? undefined : await markOf(child.pid);
    if (mark !== undefined) await writeState(pidFileOf(process), mark);
  } catch (cause) {
    throw new Fault(`Starting ${QEMU} for ${process.what} failed`, { cause });
  } finally {
    await log.close();
  }
}

export async function isQemuRunning(process: QemuProcess): Promise<boolean> {
  const mark = await readState(pidFileOf(process), ProcessMark);
  return mark !== undefined && (await isRunning(mark));
}

/** Ends the process and sees it gone. None is success. Its files stay. */
export async function endQemu(process: QemuProcess): Promise<void> {
  const mark = await readState(pidFileOf(process), ProcessMark);
  if (mark !== undefined) await endProcess(process.what, mark);
}

/**
 * A guest may write to its console for years: what is kept of it is bounded, whenever somebody looks. QEMU appends, so the file can be
 * emptied under it; what the guest says in the moment between copy and emptying is lost. No console is none to bound.
 */
export async function boundConsole(process: QemuProcess): Promise<void> {
  const path = consoleOf(process);
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Fault(`Opening the console of ${process.what} failed`, { cause: error });
  });
  if (file === undefined) return;
  await using console = file;
  const { size } = await console.stat();
  if (size <= CONSOLE_BYTES_MAX) return;
  const last = Buffer.alloc(CONSOLE_BYTES_MAX);
  const { bytesRead } = await console.read(last, 0, last.length, size - last.length);
  const beside = `${oldConsoleOf(process)}.new`;
  await writeFile(beside, last.subarray(0, bytesRead));
  await rename(beside, oldConsoleOf(process));
  await truncate(path, 0);
}

/** What QEMU and the guest's console said last, as far as they said anything. */
export async function lastWordsOf(process: QemuProcess): Promise<string> {
  const tail = async (...paths: readonly string[]) => {
    const parts = await Promise.all(paths.map((path) => readFile(path, 'utf8').catch(() => '')));
    // A console writes escape sequences for terminals.
    const text = stripVTControlCharacters(parts.join('')).trim();
    // After a panic come traces; what matters is how it begins.
    const panic = text.lastIndexOf('Kernel panic');
    return panic < 0 ? lastPart(text, 600) : text.slice(panic, panic + 300);
  };
  const [qemu, guest] = await Promise.all([
    tail(logOf(process)),
    tail(oldConsoleOf(process), consoleOf(process)),
  ]);
  return [
    qemu === '' ? undefined : `QEMU said: ${qemu}`,
    guest === '' ? 'its console said nothing' : `its console said last: ${guest}`,
  ]
    .filter((part) => part !== undefined)
    .join('; ');
}
