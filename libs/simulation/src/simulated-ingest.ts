/** Reads child jobs by the leases they are given, as ingest does, at the speeds of the host: what an attempt received stays received. */
import type { EventData } from '@backhaul/contracts';
import { invariant } from '@backhaul/kernel';
import { directProxyId } from '@backhaul/pool';
import type { OpenBackup } from './open-backup.ts';
import { Transfers } from './transfers.ts';
import type { HostAbilities } from './workload.ts';

export type Lease = EventData<'PortsLeased'>;

interface Reading {
  readonly lease: Lease;
  readonly backup: OpenBackup;
  readonly since: number;
}

export interface ReadAll extends Reading {
  readonly bytes: number;
}

export class SimulatedIngest {
  readonly #abilities: HostAbilities;
  readonly #transfers: Transfers;
  /** By child job: the newest lease that it was given, until that is released. */
  readonly #reading = new Map<string, Reading>();

  constructor(now: number, abilities: HostAbilities) {
    this.#abilities = abilities;
    this.#transfers = new Transfers(now, abilities.bytesPerSecond);
  }

  get bytesPerSecond(): number {
    return this.#transfers.rate;
  }

  get nextEnd(): number | undefined {
    return this.#transfers.nextEnd;
  }

  advance(now: number): void {
    this.#transfers.advance(now);
  }

  leased(lease: Lease, backup: OpenBackup, now: number): void {
    this.#reading.set(lease.childJobId, { lease, backup, since: now });
  }

  /** The first byte is there; nothing, where the lease was given up meanwhile. */
  reads({ childJobId, leaseId }: Lease): void {
    const reading = this.#reading.get(childJobId);
    if (reading === undefined || reading.lease.leaseId !== leaseId) return;
    const { portBytesPerSecond, proxyBytesPerSecond, directBytesPerSecond, bytesPerSecond } = this.#abilities;
    const { proxyId, ports, runId } = reading.lease;
    const isDirect = proxyId === directProxyId(runId);
    this.#transfers.start(childJobId, reading.backup.bytesLeft.get(childJobId) ?? 0, {
      proxyId,
      ports: ports.length,
      jobRateMax: isDirect ? directBytesPerSecond : ports.length * portBytesPerSecond,
      proxyRateMax: isDirect ? bytesPerSecond : proxyBytesPerSecond,
    });
  }

  released({ childJobId, leaseId }: EventData<'PortsReleased'>): void {
    const reading = this.#reading.get(childJobId);
    if (reading?.lease.leaseId !== leaseId) return;
    this.#reading.delete(childJobId);
    const moved = this.#transfers.stop(childJobId);
    if (moved === undefined) return;
    const { backup } = reading;
    backup.bytesRead += moved;
    backup.bytesLeft.set(childJobId, (backup.bytesLeft.get(childJobId) ?? 0) - moved);
  }

  /** Child jobs that have read all of their portions by now. */
  takeEnded(): ReadAll[] {
    return this.#transfers.takeEnded().map((childJobId) => {
      const reading = this.#reading.get(childJobId);
      invariant(reading !== undefined, `Child job ${childJobId} read without a lease`);
      const { backup } = reading;
      const bytes = backup.bytesLeft.get(childJobId) ?? 0;
      backup.bytesRead += bytes;
      backup.bytesLeft.delete(childJobId);
      return { ...reading, bytes };
    });
  }
}
