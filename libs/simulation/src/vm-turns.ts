/**
 * Whose turn it is at each VM of a host, as the trigger keeps it (services/trigger, core/vm.ts): one run at a time, from its start until it has
 * given everything back; others wait in the order in which they came; a completed backup leaves the restore point that the next one
 * builds on.
 */
import type { BackupRequest, Since } from './workload.ts';

interface Turns {
  running: boolean;
  readonly waiting: BackupRequest[];
  restorePoint: Since | undefined;
}

export class VmTurns {
  readonly #vms = new Map<string, Turns>();

  constructor(restorePoints: ReadonlyMap<string, Since>) {
    for (const [vmId, restorePoint] of restorePoints)
      this.#vms.set(vmId, { running: false, waiting: [], restorePoint });
  }

  /** `skipped`: the last backup of the same schedule still waits, and is as good. */
  ask(request: BackupRequest): 'starts' | 'waits' | 'skipped' | 'refused' {
    const turns = this.#of(request.vmId);
    const { scheduleId, policy } = request;
    if (!turns.running) {
      turns.running = true;
      return 'starts';
    }
    if (scheduleId !== undefined && turns.waiting.some((each) => each.scheduleId === scheduleId))
      return 'skipped';
    if (policy.whenVmBusy === 'refuse') return 'refused';
    turns.waiting.push(request);
    return 'waits';
  }

  completed(vmId: string, restorePoint: Since): void {
    this.#of(vmId).restorePoint = restorePoint;
  }

  restorePointOf(vmId: string): Since | undefined {
    return this.#of(vmId).restorePoint;
  }

  /** The turn has ended: the request that has it now. */
  passOn(vmId: string): BackupRequest | undefined {
    const turns = this.#of(vmId);
    const next = turns.waiting.shift();
    turns.running = next !== undefined;
    return next;
  }

  *stillWaiting(): Generator<BackupRequest> {
    for (const { waiting } of this.#vms.values()) yield* waiting;
  }

  #of(vmId: string): Turns {
    const known = this.#vms.get(vmId);
    if (known !== undefined) return known;
    const turns: Turns = { running: false, waiting: [], restorePoint: undefined };
    this.#vms.set(vmId, turns);
    return turns;
  }
}
