/** A pool whose life is recorded as the log has it: every append with its occasion, or with the news that led to it before it. */
import { CANCELLED, catalogue, type Event, type StoredRecord } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import { type HostEvent, type Occasion, occasionText, type PoolNews, react } from '@backhaul/pool';
import { HOST, TestPool } from '@backhaul/pool/testing';

type Command = Parameters<TestPool['command']>[0];

export class RecordedPool extends TestPool {
  readonly log: StoredRecord[] = [];
  readonly #versions = new Map<string, number>();
  #causation = '';
  #appends = 0;

  override append(events: readonly HostEvent[], on: Occasion['kind'] | 'news' = 'confirmation'): void {
    const causation = on === 'news' ? this.#causation : occasionText(HOST, { kind: on, at: this.now });
    this.record(`host-${HOST}`, events, causation);
    super.append(events, on);
  }

  /** As news of another service, which the log has before what comes of it. */
  override command(command: Command): HostEvent[] {
    const news = newsOf(command);
    if (news === undefined) {
      this.#causation = occasionText(HOST, { kind: 'registration', at: this.now });
      return super.command(command);
    }
    const { category } = catalogue[news.type];
    const [told] = this.record(`${category}-${this.#appends}`, [news], 'a request');
    this.#causation = told?.eventId ?? '';
    const at = told?.recordedAt ?? '';
    return super.command(react(news, at).command, at);
  }

  record(stream: string, events: readonly Event[], causation: string): StoredRecord[] {
    this.#appends += 1;
    const recordedAt = `${new Date(this.now).toISOString().slice(0, -1)}${String(this.#appends % 1000).padStart(3, '0')}Z`;
    const records = events.map(({ type, data }): StoredRecord => {
      const version = (this.#versions.get(stream) ?? 0) + 1;
      this.#versions.set(stream, version);
      return {
        position: this.log.length + 1,
        eventId: derivedId('recorded', String(this.#appends), String(version)),
        ...{ stream, version, type, recordedAt },
        schemaVersion: catalogue[type].schemaVersion,
        metadata: { correlation: stream, causation, actor: 'test' },
        data: JSON.parse(JSON.stringify(data)) as unknown,
      };
    });
    for (const each of records) this.log.push({ ...each, position: this.log.length + 1 });
    return records;
  }
}

/**
 * What another service says, for the pool to be asked this: as far as the pool listens. Undefined where nobody says it. What has no news
 * of its own is said to have failed.
 */
function newsOf(command: Command): Event<PoolNews> | undefined {
  if (command.type === 'RegisterHost') return undefined;
  if (command.type === 'RequestActivation') return { type: 'ProxiesCalculated', data: command.plan };
  if (command.type === 'RequestRecovery') return { type: 'RecoveryProxiesCalculated', data: command.plan };
  const news = (type: PoolNews, more: object = {}) => {
    const run = 'runId' in command ? { backupId: command.runId } : {};
    return { type, data: { hostId: HOST, vmId: 'vm', ...run, ...more } } as Event<PoolNews>;
  };
  switch (command.type) {
    case 'ReleasePorts': {
      const { childJobId, leaseId, reason, retryable, moved = { bytes: 0, milliseconds: 0 } } = command;
      const { bytes: readBytes, milliseconds } = moved;
      return command.completed
        ? news('ChildJobCompleted', { childJobId, leaseId, readBytes, milliseconds })
        : news('ChildJobInterrupted', { childJobId, leaseId, reason, retryable });
    }
    case 'TakeMounts':
      return news('MountOpened', { recoveryId: command.runId, mounts: command.mounts });
    case 'FailRun':
      return news('MountReadFailed', { recoveryId: command.runId, diskId: 'd0', reason: 'damaged' });
    case 'PrestartProxies': {
      const { runId: backupId, scheduleId, vmId, dueAt } = command;
      return news('ScheduleApproaching', { backupId, scheduleId, vmId, dueAt, announcedAt: dueAt });
    }
    case 'AdoptPolicy':
      return news('HostPolicyDefined', { policy: command.policy, revision: command.revision });
    case 'PauseRun':
    case 'ResumeRun': {
      const { purpose, runId, number } = command;
      const said = command.type === 'PauseRun' ? 'Paused' : 'Resumed';
      return purpose === 'backup'
        ? news(`Backup${said}`, { number })
        : news(`Recovery${said}`, { recoveryId: runId, number });
    }
    case 'CancelRun': {
      const { purpose, runId } = command;
      const refusal = { code: CANCELLED[purpose], message: 'It was cancelled.' };
      return purpose === 'backup'
        ? news('BackupFailed', { refusal })
        : news('RecoveryFailed', { recoveryId: runId, refusal });
    }
    default: {
      const refusal = { code: 'Failed', message: 'It has failed.' };
      return command.type === 'EndRun' && command.outcome === 'completed'
        ? news('BackupCompleted')
        : news('BackupFailed', { refusal });
    }
  }
}
