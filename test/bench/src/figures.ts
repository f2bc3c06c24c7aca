/**
 * What a benchmark hands over: each figure as soon as it is known, under a stable key, so that a run that is cut short or fails
 * later has told what it had. Ratios are named `vs...`; above 1 we are ahead of the peer.
 */
import { renameSync, writeFileSync } from 'node:fs';

export type Figures = Readonly<Record<string, number>>;
export type Note = (figures: Figures) => void;

export const print: Note = (figures) => {
  for (const [key, value] of Object.entries(figures)) {
    console.log(`  ${key.padEnd(56)} ${Number(value.toPrecision(4))}`);
  }
};

/** Prints, and keeps the file at `path` whole and up to date: all figures so far, whenever one more is known. */
export function noteTo(path: string | undefined): Note {
  const known: Record<string, number> = {};
  const write = (): void => {
    if (path === undefined) return;
    writeFileSync(`${path}.part`, `${JSON.stringify(known, null, 2)}\n`);
    renameSync(`${path}.part`, path);
  };
  write(); // an earlier run's figures are not this one's
  return (figures) => {
    print(figures);
    Object.assign(known, figures);
    write();
  };
}
