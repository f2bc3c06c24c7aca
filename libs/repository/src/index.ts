export { openRepository } from './open-repository.ts';
export { overlay } from './overlay.ts';
export type {
  ChunkBuffer,
  DamagedFile,
  Manifest,
  ManifestDisk,
  NewManifest,
  OpenRepositoryOptions,
  Repository,
  Segment,
  Segments,
  StoredChunk,
  StoredManifest,
} from './repository.ts';
export { type RestoreDiskOptions, type RestoredDisk, restoreDisk } from './restore-disk.ts';
export { type Problem, type VerifyOptions, type VerifyReport, verify } from './verify.ts';
