/**
 * How long a look at a running VM may stand in it. A disk of many terabytes in many pieces takes many minutes to ask for: a look has time for as
 * long as its questions are answered, each of which has a limit of its own, and renews what says how long it stands.
 * In all it is bounded by hours.
 */
import { randomBytes } from 'node:crypto';
import { Fault, GiB } from '@backhaul/kernel';
import type { QmpClient } from '../qmp.ts';
import { removeBitmap } from './checkpoints.ts';
import { expiredLooks, LOOK_PREFIX, lookId, lookOf } from './look-ids.ts';
import { allDisksOf, type VmDisk } from './vm-disks.ts';
import { allExportIds, removeExports } from './vm-exports.ts';

const HOUR_MILLISECONDS = 3_600_000;

export interface LookLimits {
  /** What a process that dies leaves stands as long as this, at most. */
  readonly standsMilliseconds: number;
  readonly renewedAfterMilliseconds: number;
  readonly longestMilliseconds: number;
}
const usualLimits: LookLimits = {
  standsMilliseconds: 240_000,
  renewedAfterMilliseconds: 60_000,
  longestMilliseconds: 6 * HOUR_MILLISECONDS,
};

/** A bitmap that nothing is written to: its name is what it is for. */
const LEASE_GRANULARITY_BYTES = 1 * GiB;

export class LookLease {
  /** Exports and bitmaps of the look begin with it. */
  readonly id: string;
  readonly #nonce = randomBytes(4).toString('hex');
  readonly #limits: LookLimits;
  readonly #begunAt: number;
  #renewedAt: number;

  constructor(now: number, limits = usualLimits) {
    this.#limits = limits;
    this.#begunAt = now;
    this.#renewedAt = now;
    this.id = lookId(now + limits.standsMilliseconds, this.#nonce);
  }

  /** Whether it is to be renewed. Throws a Fault with code `TimedOut` when it has taken too long in all: `doing` says how far it came. */
  isDue(now: number, doing: () => string): boolean {
    const { longestMilliseconds, renewedAfterMilliseconds } = this.#limits;
    if (now - this.#begunAt > longestMilliseconds) {
      const hours = Math.round(longestMilliseconds / HOUR_MILLISECONDS);
      throw new Fault(`${doing()} was not done after ${hours} hours`, { code: 'TimedOut' });
    }
    return now - this.#renewedAt >= renewedAfterMilliseconds;
  }

  /** The later time first: a process that dies in between leaves one thing more, under a name that expires as well. */
  async renew(qmp: QmpClient, disk: VmDisk, now: number): Promise<void> {
    const name = lookId(now + this.#limits.standsMilliseconds, this.#nonce);
    await qmp.execute('block-dirty-bitmap-add', {
      arguments: { node: disk.node, name, granularity: LEASE_GRANULARITY_BYTES, disabled: true },
    });
    await removeBitmaps(qmp, (one) => lookOf(one)?.nonce === this.#nonce && one !== name && one !== this.id);
    this.#renewedAt = now;
  }

  /** Takes away all of it. None is success. */
  async end(qmp: QmpClient): Promise<void> {
    await takeAway(qmp, (nonce) => nonce === this.#nonce);
  }
}

/** What looks left whose process died. */
export async function endExpiredLooks(qmp: QmpClient, now: number): Promise<void> {
  const bitmaps = (await allDisksOf(qmp)).flatMap((disk) => disk.bitmaps.map(({ name }) => name));
  const expired = expiredLooks([...(await allExportIds(qmp)), ...bitmaps], now);
  if (expired.size > 0) await takeAway(qmp, (nonce) => expired.has(nonce));
}

/** Exports first: a bitmap that is served cannot be removed. */
async function takeAway(qmp: QmpClient, isMeant: (nonce: string) => boolean): Promise<void> {
  const isOfIt = (name: string): boolean => {
    const look = lookOf(name);
    return look !== undefined && isMeant(look.nonce);
  };
  await removeExports(qmp, isOfIt);
  await removeBitmaps(qmp, isOfIt);
}

async function removeBitmaps(qmp: QmpClient, isMeant: (name: string) => boolean): Promise<void> {
  for (const disk of await allDisksOf(qmp)) {
    for (const { name } of disk.bitmaps) {
      if (name.startsWith(LOOK_PREFIX) && isMeant(name)) await removeBitmap(qmp, disk, name);
    }
  }
}
