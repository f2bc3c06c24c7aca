/** How arguments of commands are read. */
import type { NotedSeal } from '@backhaul/event-store';
import { InvalidArgumentError, Option } from 'commander';
import { usage } from './exit.ts';

/** `--json` on a command whose answer has a shape. */
export const jsonOption = () => new Option('--json', 'print the answer as JSON');
export const postgresOption = () =>
  new Option('--postgres-url <url>', 'the database of the log, as the console logs in');

export const collect = (value: string, earlier: string[] = []): string[] => [...earlier, value];

export function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError('Give a port from 0 to 65535.');
  return value;
}

export function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Give a whole number from 1.');
  return value;
}

/** As it was printed: `5:<hash>`. */
export function readNoted(text: string): NotedSeal {
  const found = /^([1-9]\d*):([0-9a-f]{64})$/.exec(text);
  if (found === null)
    throw usage(`"${text}" is no seal. Write it as it was printed: its number, a colon and its hash.`);
  return { seal: Number(found[1]), hash: found[2] ?? '' };
}
