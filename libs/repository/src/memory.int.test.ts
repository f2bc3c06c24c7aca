import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MiB, TiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { temporaryFolder } from './testing/temporary-folder.ts';

test('a disk of 8 TiB with 2 TiB of data needs no more memory than a small one', async () => {
  const script = fileURLToPath(new URL('./testing/map-of-8-tib.ts', import.meta.url));
  const location = await temporaryFolder();
  // The whole list would need over 100 MiB: with this heap, holding it ends the process.
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--max-old-space-size=80',
    script,
    location,
  ]);
  const slots = (8 * TiB) / (4 * MiB);
  const { segments, sparseSegments, indexMilliseconds, found, maxRssMebibytes } = JSON.parse(stdout);
  expect(segments).toBe(slots / 2 + 2 * Math.ceil(slots / 100));
  expect(sparseSegments).toBe(1);
  expect(found, 'segments found by their offset').toBe(1000);
  // Some tenths of a second on a quiet machine.
  expect(indexMilliseconds).toBeLessThan(5000);
  expect(maxRssMebibytes).toBeLessThan(250);
}, 120_000);
