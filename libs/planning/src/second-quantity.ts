/**
 * The second quantity: how many proxy VMs write a recovery, from its number of disks and the data streams that may write
 * one disk. `ceil(disks * maxStreamsPerDisk * portsPerStream / maxPortsPerProxy)` when a proxy is full of ports. It is more where a
 * proxy cannot be filled with streams to its last port, and where it may not run so many: both are said.
 */
import type { Policy } from '@backhaul/contracts';
import { counted } from './counted.ts';
import { type Load, type Quantity, WRITING, withinLimits } from './quantity.ts';

export const countedStreams = (disks: number, policy: Policy): number => disks * policy.maxStreamsPerDisk;

/** Proxies that have the ports of so many streams, were a stream to take ports of two proxies. */
export const proxiesByPorts = (
  streams: number,
  { portsPerStream, maxPortsPerProxy }: Pick<Policy, 'portsPerStream' | 'maxPortsPerProxy'>,
): number => Math.ceil((streams * portsPerStream) / maxPortsPerProxy);

/** `streams` are those of the formula, `load.childJobs` those that there is data for. `limitedBy`: why these are fewer. */
export function secondQuantity(
  streams: number,
  limitedBy: Quantity['limitedBy'],
  load: Load,
  policy: Policy,
): Quantity {
  const calculated = Math.ceil(streams / load.capacity);
  const limits = [
    ...limitByCapacity(calculated, proxiesByPorts(streams, policy), load.capacity, policy),
    ...limitedBy,
  ];
  return withinLimits(calculated, limits, load, policy, WRITING);
}

function limitByCapacity(
  calculated: number,
  byPorts: number,
  capacity: number,
  { maxChildJobsPerProxy, maxPortsPerProxy, portsPerStream }: Policy,
): Quantity['limitedBy'] {
  if (calculated === byPorts) return [];
  const places = Math.floor(maxPortsPerProxy / portsPerStream);
  const effect = `${calculated} proxy VMs calculated instead of ${byPorts}`;
  return places > maxChildJobsPerProxy
    ? [
        {
          limit: 'maxChildJobsPerProxy',
          value: maxChildJobsPerProxy,
          effect: `a proxy VM runs ${counted(capacity, 'data stream')} at a time and not the ${places} that it has ports for: ${effect}`,
        },
      ]
    : [
        {
          limit: 'maxPortsPerProxy',
          value: maxPortsPerProxy,
          effect: `a data stream holds ${portsPerStream} ports of one proxy VM, and ${maxPortsPerProxy - places * portsPerStream} of its ${maxPortsPerProxy} are left over: ${effect}`,
        },
      ];
}
