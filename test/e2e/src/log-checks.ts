/** What must hold of any recorded run, checked on the events alone. */
import type { EventType, Recorded } from '@backhaul/contracts';
import { expect } from 'vitest';

/** Rows M5 and M7: a port never has two holders, and at the end nobody holds one. Answers the most ports held at a time. */
export function portsWereExclusive(events: readonly Recorded[]): number {
  const holders = new Map<string, string>();
  let most = 0;
  for (const { type, data } of events) {
    if (type === 'PortsLeased') {
      for (const { port } of data.ports) {
        const key = `${data.proxyId}:${port}`;
        expect(holders.has(key), `port ${key} was leased while ${holders.get(key)} held it`).toBe(false);
        holders.set(key, data.childJobId);
      }
      most = Math.max(most, holders.size);
    } else if (type === 'PortsReleased') {
      for (const port of data.ports) holders.delete(`${data.proxyId}:${port}`);
    }
  }
  expect([...holders]).toEqual([]);
  return most;
}

/** Nothing received was received a second time, by any attempt. */
export function nothingWasReadTwice(events: readonly Recorded[]): void {
  const seen = new Set<string>();
  for (const { type, data } of events) {
    if (type !== 'ChunkReceived') continue;
    const key = `${data.diskId}@${data.offset}`;
    expect(seen.has(key), `the piece ${key} was received twice`).toBe(false);
    seen.add(key);
  }
}

/** Nothing that was confirmed was written a second time, by any attempt. */
export function nothingWasWrittenTwice(events: readonly Recorded[]): void {
  const seen = new Set<string>();
  for (const { data } of ofType(events, 'ChunkExported')) {
    const key = `${data.diskId}@${data.offset}`;
    expect(seen.has(key), `the piece ${key} was confirmed twice`).toBe(false);
    seen.add(key);
  }
}

/** Snapshots or targets, attachments and leases of a run, each closed by its inverse. */
export function everythingWasGivenBack(events: readonly Recorded[]): void {
  expect(openIn(events)).toEqual([]);
}

/** What a run has taken and not given back. */
export function openIn(events: readonly Recorded[]): string[] {
  const open = new Set<string>();
  for (const { type, data } of events) {
    if (type === 'SnapshotRequested') open.add('snapshot');
    if (type === 'SnapshotReleased') open.delete('snapshot');
    if (type === 'TargetRequested') open.add(data.mounts === undefined ? 'target' : 'target to fill');
    if (type === 'TargetKept' || type === 'TargetDiscarded') open.delete('target');
    if (type === 'TargetFilled' || type === 'TargetLeft' || type === 'TargetDiscarded')
      open.delete('target to fill');
    if (type === 'MountRequested') open.add('mount');
    if (type === 'MountClosed') open.delete('mount');
    if (type === 'DiskAttachRequested') open.add(`disk ${data.diskId} at ${data.proxyId}`);
    if (type === 'DiskDetached') open.delete(`disk ${data.diskId} at ${data.proxyId}`);
    if (type === 'PortsLeased') open.add(`lease ${data.leaseId}`);
    if (type === 'PortsReleased') open.delete(`lease ${data.leaseId}`);
  }
  return [...open];
}

export const ofType = <T extends EventType>(events: readonly Recorded[], type: T): Recorded<T>[] =>
  events.filter((event) => event.type === type) as unknown as Recorded<T>[];
