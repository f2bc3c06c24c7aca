export { dataRuns } from './data-runs.ts';
export { isRepositoryFault, repositoryAway, repositoryFaultCode } from './faults.ts';
export { ChunkCache, type ChunkCacheOptions } from './mount/chunk-cache.ts';
export type { Disk, DiskPiece, DiskRun, TakeMemory } from './mount/disk.ts';
export { type OverlayDisk, openOverlayDisk } from './mount/overlay-disk.ts';
export { openRestorePointDisk, type RestorePointDiskOptions } from './mount/restore-point-disk.ts';
export { type SaveDiskOptions, saveDisk } from './mount/save-disk.ts';
export { type NewestWholeOptions, newestWhole } from './newest-whole.ts';
export { openRepository, repositoryIdAt } from './open-repository.ts';
export { overlay } from './overlay.ts';
export type {
  ChunkBuffer,
  DamagedChunk,
  DamagedFile,
  HealedChunk,
  HeldChunk,
  Manifest,
  ManifestDisk,
  NewManifest,
  OpenRepositoryOptions,
  Repository,
  Segment,
  SegmentIndex,
  Segments,
  StoredChunk,
  StoredManifest,
} from './repository.ts';
export { requireRepository } from './require-repository.ts';
export { type RestoreDiskOptions, type RestoredDisk, restoreDisk } from './restore-disk.ts';
export { type SharedChunk, SharedChunks } from './shared-chunks.ts';
export { type Problem, type VerifyOptions, type VerifyReport, verify } from './verify.ts';
