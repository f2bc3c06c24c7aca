/** Owned by proxy-manager, in the stream of a host: who holds which ports of which proxy, and for how long. */
import { z } from 'zod';
import { defineEvent, unchanged } from './define-event.ts';
import { namedByBackup, ofBackup, run } from './run-naming.ts';
import { BackupKind, Bytes, ChildJobId, DiskId, Instant, ProxyId, VmId } from './vocabulary.ts';

export const LeasedPort = z.object({ port: z.int().nonnegative(), uri: z.string() });

const lease = {
  ...run,
  vmId: VmId,
  childJobId: ChildJobId,
  diskId: DiskId,
  offset: Bytes,
  length: Bytes,
  leaseId: z.string(),
  fence: z.int().positive(),
  attempt: z.int().positive(),
  wave: z.int().positive(),
  proxyId: ProxyId,
  ports: z.array(LeasedPort).min(1),
  diskBytes: Bytes,
  leasedAt: Instant.optional(),
};

/**
 * A child job (of a recovery: a data stream) holds these ports of this proxy until PortsReleased. `fence` grows with every lease of
 * the host, so a holder that was thought dead and is not can be told from the one that came after it. Version 3: `leasedAt`.
 */
export const PortsLeased = defineEvent(
  'host',
  'PortsLeased',
  z.discriminatedUnion('purpose', [
    z.object({
      purpose: z.literal('backup'),
      ...lease,
      kind: BackupKind,
      extents: z.object({ uri: z.string(), changedContext: z.string().nullable() }),
    }),
    z.object({
      purpose: z.literal('recovery'),
      ...lease,
      /** NBD URI of the host's own view of the disk: what was written through a proxy is read back past its caches. */
      readBack: z.string(),
    }),
  ]),
  [ofBackup, unchanged],
);

/**
 * Version 3: `paused`. Version 4: `releasedAt`. Version 5: `moved`, what the child job says that it moved in this attempt, and in what time;
 * absent of one that did not complete.
 */
export const PortsReleased = defineEvent(
  'host',
  'PortsReleased',
  z.object({
    ...run,
    childJobId: ChildJobId,
    leaseId: z.string(),
    proxyId: ProxyId,
    ports: z.array(z.int().nonnegative()),
    because: z.enum([
      'completed',
      'interrupted',
      'proxy-lost',
      'snapshot-lost',
      'target-lost',
      'run-ended',
      'paused',
    ]),
    releasedAt: Instant.optional(),
    moved: z.object({ bytes: Bytes, milliseconds: z.number().nonnegative() }).optional(),
  }),
  [namedByBackup, unchanged, unchanged, unchanged],
);
