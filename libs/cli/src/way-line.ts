/** Which way the data of a run goes, in a few words; and why, where it is not the way that was wanted. */
import type { EventData } from '@backhaul/contracts';

type Way = Pick<EventData<'ProxiesCalculated'>, 'mode' | 'proxies' | 'modeReason' | 'rejected'>;

export function wayLine({ mode, proxies, modeReason, rejected }: Way): string {
  const way =
    mode === 'proxy-vm' ? `through ${proxies} ${proxies === 1 ? 'proxy' : 'proxies'}` : 'direct to host';
  // Where the mode is the wanted one, the other is rejected for the very reason that this one was chosen for.
  const isFallback = rejected.some(({ what, why }) => what.startsWith('mode ') && why !== modeReason);
  return isFallback ? `${way}: ${modeReason}` : way;
}
