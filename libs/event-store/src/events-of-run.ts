/** What the log has of one backup or recovery, of one type: for conclusions that are right only when nothing is missing. */
import type { EventType, Recorded } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import type { LogReader } from './event-store.ts';

/**
 * All events of one type with this correlation, in the order of the log, at least up to the position `upTo`. Throws a retryable Fault with
 * the code `LogBehind` while the log cannot be read that far: an answer from an older log would be a wrong one.
 * `cursor` is moved as pages have been taken: with the same one the next call reads on from there.
 */
export async function* eventsOfRun<T extends EventType>(
  reader: LogReader,
  correlation: string,
  type: T,
  upTo: number,
  cursor = { after: 0 },
): AsyncGenerator<Recorded<T>> {
  for (;;) {
    const page = await reader.readLog(cursor.after, { types: [type], correlation });
    if (page.highWater < upTo) {
      throw new Fault(`The log can be read up to ${page.highWater} for the moment, and not to ${upTo}`, {
        code: 'LogBehind',
      });
    }
    for (const event of page.events) if (event.type === type) yield event as unknown as Recorded<T>;
    cursor.after = Math.max(cursor.after, page.next);
    if (page.next >= page.highWater) return;
  }
}
