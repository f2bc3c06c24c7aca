import { describe, expect, test } from 'vitest';
import type { Manifest } from '../repository.ts';
import { manifestName } from './bounds.ts';
import { digestOf } from './chunk-file.ts';
import {
  canonicalJson,
  decodeManifest,
  decodeRepositoryFile,
  encodeManifest,
  encodeRepositoryFile,
} from './manifest.ts';

const manifest: Manifest = {
  formatVersion: 1,
  backupId: '5f0c9a3e-7a52-5d0e-9a5b-0d7d3c1f2e4a',
  hostId: 'host-1',
  vmId: 'web',
  kind: 'incremental',
  takenAt: '2025-01-02T03:04:05.678Z',
  parentBackupId: '0b9f3c55-1111-5222-8333-444455556666',
  disks: [{ diskId: 'vda', sizeBytes: 4096, mapDigest: 'ab'.repeat(32) }],
};

test('the bytes of a manifest never change', () => {
  const { bytes, digest } = encodeManifest(manifest);
  expect(new TextDecoder().decode(bytes)).toBe(`{
  "backupId": "5f0c9a3e-7a52-5d0e-9a5b-0d7d3c1f2e4a",
  "checksum": "9a4a9030ca2558d74e2fc3bcbe47ec9b3a0ebcfccef2afc6d74b7a3c9d43a562",
  "disks": [
    {
      "diskId": "vda",
      "mapDigest": "abababababababababababababababababababababababababababababababab",
      "sizeBytes": 4096
    }
  ],
  "formatVersion": 1,
  "hostId": "host-1",
  "kind": "incremental",
  "parentBackupId": "0b9f3c55-1111-5222-8333-444455556666",
  "takenAt": "2025-01-02T03:04:05.678Z",
  "vmId": "web"
}
`);
  expect(digest).toBe('986bd72a8f8767e9ad5982263ea6357f3f88180aeba94cc7148275e6aa09c292');
  expect(decodeManifest(bytes)).toEqual({ manifest, digest });
});

test('the bytes of repository.json never change', () => {
  const file = {
    formatVersion: 1 as const,
    repositoryId: '5f0c9a3e-7a52-5d0e-9a5b-0d7d3c1f2e4a',
    createdAt: '2025-01-02T03:04:05.678Z',
  };
  const bytes = encodeRepositoryFile(file);
  expect(new TextDecoder().decode(bytes)).toBe(`{
  "createdAt": "2025-01-02T03:04:05.678Z",
  "formatVersion": 1,
  "repositoryId": "5f0c9a3e-7a52-5d0e-9a5b-0d7d3c1f2e4a"
}
`);
  expect(decodeRepositoryFile(bytes)).toEqual(file);
});

test('no flipped bit of a manifest changes what is read of it', () => {
  const { bytes } = encodeManifest(manifest);
  let refused = 0;
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const damaged = new Uint8Array(bytes);
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    try {
      // White space may turn into other white space.
      expect(decodeManifest(damaged).manifest).toEqual(manifest);
    } catch (error) {
      expect(error).toMatchObject({ permanent: true });
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(bytes.length * 7);
});

describe('a manifest that cannot be used says why', () => {
  const text = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
  test.each([
    ['of another version', text({ ...manifest, formatVersion: 2 }), 'format version 2; this release reads 1'],
    ['without its checksum', text(manifest), 'does not fit its checksum'],
    ['cut off', encodeManifest(manifest).bytes.subarray(0, 100), 'is not JSON'],
    ['empty', new Uint8Array(0), 'is not JSON'],
    ['something else', text([1]), 'is not a JSON object'],
  ])('%s', (_what, bytes, reason) => {
    expect(() => decodeManifest(bytes)).toThrow(reason);
  });

  test('a manifest that breaks its schema is not written', () => {
    expect(() => encodeManifest({ ...manifest, takenAt: 'yesterday' })).toThrow(
      /cannot be written.*takenAt/s,
    );
    const disk = { diskId: 'vda', sizeBytes: 1, mapDigest: 'ab'.repeat(32) };
    expect(() => encodeManifest({ ...manifest, disks: [disk, disk] })).toThrow('names a disk twice');
  });

  test.each(['../../etc/cron.d/x', '/etc/x', '..', '.', 'a/b', 'a\0', 'vda\u001b[2J', '', 'x'.repeat(64)])(
    'a name that is none (%j) is not read, whatever its checksum, and not written',
    (name) => {
      const [disk] = manifest.disks as [Manifest['disks'][number]];
      for (const named of [{ hostId: name }, { vmId: name }, { disks: [{ ...disk, diskId: name }] }]) {
        const content = { ...manifest, ...named };
        const made = canonicalJson({ ...content, checksum: digestOf(canonicalJson(content)) });
        expect(() => decodeManifest(made)).toThrow(/is not valid.*must be 1 to 63 letters/s);
        expect(() => encodeManifest(content)).toThrow('cannot be written');
      }
    },
  );

  test('no backup id reaches another path', () => {
    expect(() => manifestName('../../etc/passwd')).toThrow('is not a backup id');
  });
});
