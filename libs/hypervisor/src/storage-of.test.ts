import { expect, test } from 'vitest';
import { mountPointOf, storageOf } from './storage-of.ts';

const MOUNTS = String.raw`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 254:16 / /var/lib/images rw shared:5 - xfs /dev/vdb rw
31 30 0:44 / /var/lib/images/nas\040one rw shared:6 - nfs4 nas:/one rw
`;

test.each([
  ['/etc/passwd', '/'],
  ['/var/lib/images/web.qcow2', '/var/lib/images'],
  ['/var/lib/images-old/web.qcow2', '/'],
  ['/var/lib/images/nas one/db.raw', '/var/lib/images/nas one'],
])('%s lies at %s', (path, point) => {
  expect(mountPointOf(path, MOUNTS)).toBe(point);
});

test('a file that is there lies somewhere, and what is no file here lies nowhere', async () => {
  expect(await storageOf(import.meta.filename)).toMatch(/^\//);
  expect(await storageOf('nbd://elsewhere/vda')).toBeUndefined();
  expect(await storageOf('/nonexistent/image.raw')).toBeUndefined();
});
