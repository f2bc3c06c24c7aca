/**
 * Loads the local stack when it is needed. The embedded PostgreSQL comes with handlers that end this process on a signal,
 * and with code 0 when it has nothing left to do: both would take the stop and the exit code out of our hands.
 */
const EVENTS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'beforeExit', 'exit'] as const;

export async function loadStack(): Promise<typeof import('@backhaul/local')> {
  const ours = new Map(EVENTS.map((event) => [event, new Set(process.listeners(event as 'SIGINT'))]));
  const loaded = await import('@backhaul/local');
  for (const [event, listeners] of ours) {
    for (const listener of process.listeners(event as 'SIGINT')) {
      if (!listeners.has(listener)) process.removeListener(event, listener);
    }
  }
  return loaded;
}
