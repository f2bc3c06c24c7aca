/**
 * Names of what a look at a running VM puts into it: `backhaul-look.<until>.<nonce>.<what>`. They bear the time until which they may
 * stand; a look that goes on adds one thing that bears a later time, and that holds for all of it. So whoever comes later finds by
 * names alone what a process left that died.
 */
import { CHECKPOINT_PREFIX } from '../directory/change-tracking.ts';

export const LOOK_PREFIX = `${CHECKPOINT_PREFIX}look.`;

/** The id of everything of one look: exports and bitmaps begin with it. */
export const lookId = (untilMilliseconds: number, nonce: string): string =>
  `${LOOK_PREFIX}${untilMilliseconds}.${nonce}.`;

/** Undefined of what is of no look. */
export function lookOf(id: string): { readonly until: number; readonly nonce: string } | undefined {
  if (!id.startsWith(LOOK_PREFIX)) return undefined;
  const [until = '', nonce = ''] = id.slice(LOOK_PREFIX.length).split('.');
  return { until: Number(until), nonce };
}

/** The nonces of looks of which nothing bears a time that is still to come. */
export function expiredLooks(ids: readonly string[], nowMilliseconds: number): Set<string> {
  const looks = ids.map(lookOf).filter((look) => look !== undefined);
  const standing = new Set(looks.filter(({ until }) => until >= nowMilliseconds).map(({ nonce }) => nonce));
  return new Set(looks.map(({ nonce }) => nonce)).difference(standing);
}
