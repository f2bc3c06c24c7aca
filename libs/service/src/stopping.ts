/**
 * The end of a service, in steps with names: when the time is up before all are done, those still open can be told.
 * First what takes in work ends, all of it at once; then what the service opened, the last first; then the connections
 * under it, the last first.
 */
import { describeError } from '@backhaul/kernel';

export interface StopStep {
  readonly name: string;
  run(): Promise<void>;
}

export interface Stopped {
  /** Empty when everything was given back. */
  readonly open: readonly string[];
  readonly failed: readonly string[];
}

export class StopPlan {
  readonly intake: StopStep[] = [];
  readonly own: StopStep[] = [];
  readonly connections: StopStep[] = [];

  /** A step that fails does not keep the next from running. Resolves early when it is given up. */
  async run(givenUp: AbortSignal): Promise<Stopped> {
    const alone = (step: StopStep): StopStep[] => [step];
    const stages = [
      this.intake,
      ...this.own.toReversed().map(alone),
      ...this.connections.toReversed().map(alone),
    ];
    const open = new Set(stages.flat());
    const failed: string[] = [];
    const end = async (step: StopStep): Promise<void> => {
      try {
        await step.run();
      } catch (error) {
        failed.push(`${step.name}: ${describeError(error)}`);
      }
      open.delete(step);
    };
    const all = (async () => {
      for (const stage of stages) await Promise.all(stage.map(end));
    })();
    const giveUp = new Promise<void>((resolve) => {
      if (givenUp.aborted) resolve();
      givenUp.addEventListener('abort', () => resolve());
    });
    await Promise.race([all, giveUp]);
    return { open: [...open].map(({ name }) => name), failed };
  }
}
