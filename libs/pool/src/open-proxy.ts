/** A proxy as it begins, and what stands in for one in direct-to-host mode. */
import type { EventData } from '@backhaul/contracts';
import { type Attachment, attachmentKey, type PooledProxy } from './pool-state.ts';

/** A proxy that was asked for and is not up yet. */
export const requestedProxy = (asked: EventData<'ProxyActivationRequested'>): PooledProxy => ({
  proxyId: asked.proxyId,
  kind: 'proxy',
  startedFor: asked.runId,
  portsAsked: asked.ports,
  maxChildJobs: asked.maxChildJobs,
  maxDisks: asked.maxDisks,
  idleSeconds: asked.idleSeconds,
  deadlineSeconds: asked.deadlineSeconds,
  state: 'requested',
  ports: [],
  characteristics: undefined,
  health: { state: 'good', detail: '' },
  attachments: new Map(),
  holders: new Map(),
  idleSince: undefined,
  endsBecause: '',
  suspect: false,
  interruptionsInRow: 0,
  draining: undefined,
  keptFor: new Map(),
  requestedAt: asked.requestedAt,
  portMilliseconds: 0,
  runs: 0,
});

/** The host's own export of one run's disks. */
export const openDirect = (opened: EventData<'DirectEndpointOpened'>): PooledProxy => {
  const attachments = Object.entries(opened.exports).map(([diskId, exportName]): [string, Attachment] => [
    attachmentKey(opened.runId, diskId),
    { runId: opened.runId, diskId, state: 'attached', exportName },
  ]);
  return {
    proxyId: opened.proxyId,
    kind: 'direct',
    startedFor: opened.runId,
    portsAsked: opened.ports.length,
    maxChildJobs: opened.ports.length,
    maxDisks: attachments.length,
    idleSeconds: 0,
    deadlineSeconds: 0,
    state: 'active',
    ports: opened.ports,
    characteristics: undefined,
    health: { state: 'good', detail: '' },
    attachments: new Map(attachments),
    holders: new Map(),
    idleSince: undefined,
    endsBecause: '',
    suspect: false,
    interruptionsInRow: 0,
    draining: undefined,
    keptFor: new Map(),
    requestedAt: undefined,
    portMilliseconds: 0,
    runs: 1,
  };
};
