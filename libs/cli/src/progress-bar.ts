/// <reference path="./cli-progress.d.ts" />
/** Progress on a terminal: a bar where a person watches, a line for every new phase where nobody does. */
import { formatBytes } from '@backhaul/kernel';
import { SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.ts';

export interface ProgressBar {
  update(state: { done: number; total: number; phase: string }): void;
  stop(): void;
}

export const noBar: ProgressBar = { update: () => undefined, stop: () => undefined };

export const progressBar = (terminal: Terminal): ProgressBar =>
  terminal.isWatched ? drawn() : told(terminal);

function drawn(): ProgressBar {
  const bar = new SingleBar({
    format: '{bar} {percentage}%  {bytes}  {phase}',
    stream: process.stderr,
    hideCursor: true,
    barCompleteChar: '█',
    barIncompleteChar: '░',
  });
  let started = false;
  return {
    update({ done, total, phase }) {
      // An estimate may be exceeded; a bar may not.
      const shown = Math.max(1, total);
      const value = Math.min(done, shown);
      const payload = { bytes: `${formatBytes(done)} of ${formatBytes(total)}`, phase };
      if (!started) bar.start(shown, value, payload);
      else bar.setTotal(shown);
      started = true;
      bar.update(value, payload);
    },
    stop: () => {
      if (started) bar.stop();
    },
  };
}

function told(terminal: Terminal): ProgressBar {
  let last = '';
  return {
    update({ phase }) {
      if (phase !== last) terminal.note(phase);
      last = phase;
    },
    stop: () => undefined,
  };
}
