/**
 * What was stored once must be readable for ever. For every schema version of every event there is one stored example in
 * golden/<Type>.v<version>.json. A released one is never edited: a new version adds a file, and an upcaster that leads to it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { catalogue, type EventType, readEvent } from './catalogue.ts';

const FOLDER = new URL('../golden/', import.meta.url);
const files = readdirSync(FOLDER).sort();
const stored = (file: string): unknown => JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'));

const versions = Object.entries(catalogue).flatMap(([type, { schemaVersion }]) =>
  Array.from({ length: schemaVersion }, (_, index) => ({
    name: `${type} v${index + 1}`,
    type: type as EventType,
    version: index + 1,
    newest: index + 1 === schemaVersion,
  })),
);

describe('every schema version of every event', () => {
  test.each(versions)('$name is still read', ({ type, version, newest }) => {
    const file = `${type}.v${version}.json`;
    expect(files, `Add an example of what is stored as libs/contracts/golden/${file}`).toContain(file);
    const event = readEvent(type, version, stored(file));
    expect(event?.type).toBe(type);
    // An example of the newest version comes back as it is: it names every field, and none that would be dropped.
    if (newest) expect(event?.data).toEqual(stored(file));
  });

  test('has its example, and no example is of a version that does not exist', () => {
    expect(files).toEqual(versions.map(({ type, version }) => `${type}.v${version}.json`).sort());
  });
});
