import { createHash } from 'node:crypto';
import type { Recorded } from '@backhaul/contracts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AnyProjection, foldPage, keyOf, projected } from './projection.ts';
import { PROJECTIONS_VERSION, projections } from './projections/all.ts';
import {
  backupStory,
  limitsStory,
  recorded,
  recoveryStory,
  redriveStory,
  shadowStory,
  sharedProxyStory,
  type Told,
} from './testing/story.ts';
import { instantStory } from './testing/story-of-instant.ts';

describe('every projection', () => {
  const story: Told[] = [
    ...sharedProxyStory(),
    ...backupStory({ name: 'b1', interrupted: true }),
    ...backupStory({ name: 'b2', vmId: 'db-1', shared: true, fallback: true }),
    ...recoveryStory({ name: 'r1', backup: 'b1', shared: true, interrupted: true }),
    ...recoveryStory({ name: 'r2', backup: 'b2', vmId: 'db-2', end: 'damaged' }),
    ...instantStory({ name: 'r3', backup: 'b2', vmId: 'db-3' }),
    ...instantStory({ name: 'r4', backup: 'b2', vmId: 'db-4', until: 'filling' }),
    ...redriveStory('17'),
    ...limitsStory(),
    ...shadowStory(),
  ];
  const events = recorded(story);

  test('gives the same rows however the log is cut into pages', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: events.length - 1 }), { maxLength: 12 }), (cuts) => {
        for (const projection of projections) {
          expect(inPages(projection, events, cuts)).toEqual(byKey(projection, projected(projection, events)));
        }
      }),
      { numRuns: 30 },
    );
  });

  test('is not changed by events that this release does not know', () => {
    const foreign = { ...events[0], type: 'FromTheFuture', data: {}, position: 9999 } as unknown as Recorded;
    for (const projection of projections) {
      expect(projected(projection, [...events, foreign])).toEqual(projected(projection, events));
    }
  });

  test('keeps its meaning, or has a version of its own', () => {
    const rows = projections.map((projection) => [
      projection.table,
      byKey(projection, projected(projection, events)),
    ]);
    const digest = createHash('sha256').update(JSON.stringify(rows)).digest('hex').slice(0, 16);
    // Other rows from the same story (an edited story aside)? Raise PROJECTIONS_VERSION, so that tables in use are rebuilt, and write both here.
    expect([PROJECTIONS_VERSION, digest]).toEqual([9, '36e36666fba45a01']);
  });

  test('gives exactly the columns it declares', () => {
    for (const projection of projections) {
      for (const row of projected(projection, events)) {
        expect(Object.keys(row).sort()).toEqual(Object.keys(projection.columns).sort());
      }
    }
  });
});

/** Folds as the projector does, with the rows put away between pages. */
function inPages(projection: AnyProjection, events: readonly Recorded[], cuts: readonly number[]) {
  const stored = new Map<string, Record<string, unknown>>();
  const edges = [...new Set([0, ...cuts, events.length])].sort((a, b) => a - b);
  for (const [index, start] of edges.entries()) {
    const page = events.slice(start, edges[index + 1]);
    const { changed, removed } = foldPage(projection, structuredClone([...stored.values()]) as never, page);
    for (const row of changed) stored.set(keyOf(projection, row), row);
    for (const row of removed) stored.delete(keyOf(projection, row));
  }
  return byKey(projection, [...stored.values()]);
}

const byKey = (projection: AnyProjection, rows: readonly Record<string, unknown>[]) =>
  [...rows].sort((a, b) => (keyOf(projection, a) < keyOf(projection, b) ? -1 : 1));
