/** Where a command writes: results to standard output, everything about its course to standard error. */
export interface Terminal {
  /** A line of the result. */
  out(line: string): void;
  /** A line about the course, which a pipe does not get. */
  note(line: string): void;
  /** A person watches: bars may be drawn. */
  readonly isWatched: boolean;
}

export const processTerminal = (): Terminal => ({
  out: (line) => process.stdout.write(`${line}\n`),
  note: (line) => process.stderr.write(`${line}\n`),
  isWatched: process.stderr.isTTY === true,
});

export const json = (value: unknown): string => JSON.stringify(value, null, 2);
