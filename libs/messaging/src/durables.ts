/**
 * Durable pull consumers: the server's memory of what a service has handled. One per type of event, because a consumer of
 * 2.9 has a single filter and silently takes everything when given several.
 */
import { Fault } from '@backhaul/kernel';
import { AckPolicy, type ConsumerInfo, DeliverPolicy, nanos, ReplayPolicy } from 'nats';
import { assertConfigured, differences } from './configuration.ts';
import type { Session } from './link.ts';
import { isNotFound, type StreamId } from './streams.ts';

export interface Durable {
  readonly stream: StreamId;
  /** `<service>__<purpose>`, with `__<Type>` behind it for events. */
  readonly name: string;
  readonly filter: string;
  /** Messages out at once over all instances: what bounds how far a redelivered one can fall behind its successors. */
  readonly ackPendingMax: number;
  /** How long after the last sign of life a message goes to somebody else. */
  readonly ackWaitMilliseconds: number;
}

const wanted = (durable: Durable) => ({
  durable_name: durable.name,
  filter_subject: durable.filter,
  ack_policy: AckPolicy.Explicit,
  ack_wait: nanos(durable.ackWaitMilliseconds),
  // Without end: giving up is decided by the handler's side, which keeps a dead letter first.
  max_deliver: -1,
  max_ack_pending: durable.ackPendingMax,
  replay_policy: ReplayPolicy.Instant,
});

/** Makes it where it is missing, adjusts what may be adjusted, and checks what stands then. */
export async function ensureDurable(session: Session, durable: Durable): Promise<void> {
  const configuration = wanted(durable);
  const info = await durableInfo(session, durable);
  if (info === undefined) await add(session, durable, { deliver_policy: DeliverPolicy.All });
  else if (differences(configuration, info.config).length > 0) {
    const { ack_wait, max_ack_pending, max_deliver } = configuration;
    await session.manager.consumers
      .update(durable.stream, durable.name, { ack_wait, max_ack_pending, max_deliver })
      .catch(() => undefined); // what could not be changed is named by the comparison below
  }
  const found = await durableInfo(session, durable);
  assertConfigured(`The JetStream consumer ${durable.name}`, configuration, found?.config ?? {});
}

/** Makes a consumer anew that goes on where the old one stood: behind everything that was acknowledged. */
export async function recreateDurable(session: Session, durable: Durable): Promise<void> {
  const info = await durableInfo(session, durable);
  if (info !== undefined) await session.manager.consumers.delete(durable.stream, durable.name);
  await add(session, durable, {
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: (info?.ack_floor.stream_seq ?? 0) + 1,
  });
}

export async function durableInfo(session: Session, durable: Durable): Promise<ConsumerInfo | undefined> {
  try {
    return await session.manager.consumers.info(durable.stream, durable.name);
  } catch (cause) {
    if (isNotFound(cause)) return undefined;
    throw new Fault(`Asking NATS for the consumer ${durable.name} failed`, { cause });
  }
}

async function add(
  session: Session,
  durable: Durable,
  start: { deliver_policy: DeliverPolicy; opt_start_seq?: number },
): Promise<void> {
  try {
    await session.manager.consumers.add(durable.stream, { ...wanted(durable), ...start });
  } catch (cause) {
    // Another instance made it in the same moment: the comparison that follows says whether it is the same.
    if ((await durableInfo(session, durable)) !== undefined) return;
    throw new Fault(`The JetStream consumer ${durable.name} cannot be made`, { cause });
  }
}
