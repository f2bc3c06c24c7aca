/**
 * How far the VM of an instant recovery is filled, as its run knows it: whether the host is to be asked again, and whether anything comes of
 * it. What is asked then, instant-steps.ts says.
 */
import type { Event, EventType } from '@backhaul/contracts';
import { isInstant, type Run } from './pool-state.ts';

/** The run's hold on disks ends; but for disks that are a VM that runs, and is still to be filled. */
export function letGoBy(run: Run, type: EventType): void {
  run.hold = type === 'TargetKept' && isInstant(run) ? 'filling' : 'released';
  run.fill.due = run.hold === 'filling';
}

export function changeFill(
  run: Run,
  event: Event<'FillProgressed' | 'FillInterrupted' | 'TargetFilled'>,
): void {
  const { fill } = run;
  switch (event.type) {
    case 'FillProgressed': {
      const { filledBytes, totalBytes } = event.data;
      // Begun anew it passes what is filled already once more, and nothing comes of that.
      if (filledBytes > fill.filledBytes) fill.interruptions = 0;
      fill.filledBytes = Math.max(fill.filledBytes, filledBytes);
      fill.due = filledBytes === totalBytes;
      break;
    }
    case 'FillInterrupted':
      fill.due = true;
      fill.interruptions += 1;
      break;
    case 'TargetFilled':
      run.hold = 'released';
      run.outcome ??= 'completed';
      break;
  }
}
