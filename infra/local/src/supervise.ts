/**
 * Starts a service again when it ends by itself, as the units of `infra/systemd` do: at once where somebody killed it, later each time
 * where it gives up again and again, and not at all where its configuration is wrong, which no start makes better.
 */
import type { ServiceProcess } from './service-process.ts';

/** As `libs/service/src/process-end.ts` has it. */
const WRONG_CONFIGURATION = 78;
const FIRST_MILLISECONDS = 500;
const MILLISECONDS_MAX = 60_000;
/** Who ran for so long has not given up again, but anew. */
const STEADY_MILLISECONDS = 300_000;

export interface Supervision {
  /** True when the services end because they are told to. */
  readonly stopping: () => boolean;
  readonly say: (line: string) => void;
  readonly firstMilliseconds?: number;
}

/** Resolves when the service is left down, or everything stops. */
export async function supervise(
  service: ServiceProcess,
  { stopping, say, firstMilliseconds = FIRST_MILLISECONDS }: Supervision,
): Promise<void> {
  let delay = firstMilliseconds;
  for (;;) {
    const since = performance.now();
    const code = await service.exited;
    if (stopping()) return;
    if (code === WRONG_CONFIGURATION) {
      say(
        `Service ${service.name} stays down, for its configuration is wrong (78): ${await service.lastWords()}`,
      );
      return;
    }
    const isSteady = code === null || performance.now() - since > STEADY_MILLISECONDS;
    delay = isSteady ? firstMilliseconds : Math.min(delay, MILLISECONDS_MAX);
    if (code !== null) {
      const when = `${(delay / 1000).toFixed(1)} s`;
      say(
        `Service ${service.name} ended with ${code} and is started again in ${when}: ${await service.lastWords()}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (code !== null) delay *= 2;
    if (stopping()) return;
    await service.start().catch((error: unknown) => {
      if (!stopping()) say(error instanceof Error ? error.message : String(error));
    });
  }
}
