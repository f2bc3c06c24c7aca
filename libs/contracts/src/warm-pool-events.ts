/** Owned by proxy-manager, in the stream of a host: proxies that are kept for what is coming, and proxies that are not kept any longer. */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { run } from './run-naming.ts';
import { HostId, Instant, Name, ProxyId, VmId } from './vocabulary.ts';

/**
 * Its time is over (it served its runs, it is old, or its appliance is): no run is given it any more, those that have it finish, and
 * then it is ended (ProxyRetiring).
 */
export const ProxyDraining = defineEvent(
  'host',
  'ProxyDraining',
  z.object({ hostId: HostId, proxyId: ProxyId, reason: z.string() }),
);

/** Which build of the appliance the host boots from now on: told when it is another than before. */
export const ApplianceObserved = defineEvent(
  'host',
  'ApplianceObserved',
  z.object({ hostId: HostId, appliance: z.string() }),
);

/**
 * A backup is about to be asked for by a schedule: these proxies are kept for it until it comes, and those of them that were not there are
 * started. `runId` is of the backup that the schedule will ask for at `dueAt`. `asked`: what the last backup of the VM was given; `disks`:
 * how many of its disks each of them is to hold.
 */
export const ProxiesPrestarted = defineEvent(
  'host',
  'ProxiesPrestarted',
  z.object({
    ...run,
    scheduleId: Name,
    vmId: VmId,
    dueAt: Instant,
    asked: z.int().positive(),
    disks: z.int().positive(),
    proxies: z.array(z.object({ proxyId: ProxyId, started: z.boolean() })),
    /** Why fewer than asked, when fewer. */
    shortfall: z.string().nullable(),
  }),
);
