/** What the log has of one backup or recovery, of one type: for conclusions that are right only when nothing is missing. */
import type { EventType, Recorded } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import type { LogReader } from './event-store.ts';

/**
 * All events of one type with this correlation, in the order of the log, at least up to the position `upTo`. Throws a retryable Fault with
 * the code `LogBehind` while the log cannot be read that far: an answer from an older log would be a wrong one.
 */
export async function* eventsOfRun<T extends EventType>(
  reader: LogReader,
  correlation: string,
  type: T,
  upTo: number,
): AsyncGenerator<Recorded<T>> {
  for (let after = 0; ; ) {
    const page = await reader.readLog(after, { types: [type], correlation });
    if (page.highWater < upTo) {
      throw new Fault(`The log can be read up to ${page.highWater} for the moment, and not to ${upTo}`, {
        code: 'LogBehind',
      });
    }
    for (const event of page.events) if (event.type === type) yield event as unknown as Recorded<T>;
    if (page.next >= page.highWater) return;
    after = page.next;
  }
}
