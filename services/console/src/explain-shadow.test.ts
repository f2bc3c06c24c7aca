import { expect, test } from 'vitest';
import { shadowLines } from './explain-run.ts';
import { recorded, shadowStory } from './testing/story.ts';

test('an explanation says what it would have been under a shadow policy', () => {
  expect(shadowLines(recorded(shadowStory()))).toEqual([
    'Under policy candidate it would have been the same: proxy-vm, 4 child jobs, 2 proxy VMs, 1 wave.',
    'Under policy candidate it would have been: direct-to-host, 4 child jobs, 0 proxy VMs, 2 waves (above the threshold).',
  ]);
});
