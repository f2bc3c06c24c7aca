/**
 * A log that is read whole, as it was stored; and a log as a file: one event a line, as it was stored (libs/contracts, stored-record.ts), in the order of the log; packed where the name
 * ends in `.gz`. Read and written line by line, so that a log of any length takes no more memory than a line.
 */
import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { readStoredLine, type StoredRecord } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import type { EventStore } from './event-store.ts';

/** Up to where the log stands now; the next page is on its way while one is worked on. `except`: types that are passed over. */
export async function* storedLog(
  store: Pick<EventStore, 'readStoredLog'>,
  { except = [], signal }: { except?: readonly string[]; signal?: AbortSignal } = {},
): AsyncGenerator<StoredRecord> {
  const { highWater: end } = await store.readStoredLog(Number.MAX_SAFE_INTEGER, { limit: 1 });
  const read = (after: number) => store.readStoredLog(after, { except });
  for (let page = read(0); ; ) {
    const { records, next } = await page;
    signal?.throwIfAborted();
    const isLast = next >= end;
    if (!isLast) {
      page = read(next);
      page.catch(() => undefined);
    }
    yield* records;
    if (isLast) return;
  }
}

const isPacked = (path: string): boolean => path.endsWith('.gz');

/** Throws a permanent Fault that names the line that cannot be read. */
export async function* readLogFile(path: string): AsyncGenerator<StoredRecord> {
  const file = createReadStream(path);
  const text = isPacked(path) ? createGunzip() : undefined;
  const reading = text === undefined ? Promise.resolve() : pipeline(file, text);
  // It is awaited at the end: what breaks the reading ends the lines, too.
  reading.catch(() => undefined);
  let number = 0;
  let last = 0;
  try {
    for await (const line of createInterface({ input: text ?? file, crlfDelay: Number.POSITIVE_INFINITY })) {
      number += 1;
      if (line.trim() === '') continue;
      const record = readStoredLine(line);
      if (record.position <= last)
        throw new Fault(
          `position ${record.position} stands behind position ${last}: a log is read in its order`,
          {
            permanent: true,
          },
        );
      last = record.position;
      yield record;
    }
    await reading;
  } catch (cause) {
    throw new Fault(`Line ${number} of ${path} cannot be read as an event of a log`, {
      cause,
      permanent: true,
    });
  } finally {
    file.destroy();
  }
}

/** How many events it wrote. Nothing has the name before it is whole. */
export async function writeLogFile(path: string, records: AsyncIterable<StoredRecord>): Promise<number> {
  const draft = `${path}.draft`;
  let written = 0;
  async function* lines(): AsyncGenerator<string> {
    for await (const record of records) {
      written += 1;
      yield `${JSON.stringify(record)}\n`;
    }
  }
  const file = await open(draft, 'w');
  try {
    const out = file.createWriteStream();
    await (isPacked(path)
      ? pipeline(Readable.from(lines()), createGzip({ level: 9 }), out)
      : pipeline(Readable.from(lines()), out));
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  return written;
}
