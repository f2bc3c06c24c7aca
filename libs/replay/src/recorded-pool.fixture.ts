/** A pool whose life is recorded as the log has it: every append with its occasion, or with the news that led to it before it. */
import { catalogue, type Event, type StoredRecord } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import { type HostEvent, type Occasion, occasionText, type PoolNews, react } from '@backhaul/pool';
import { HOST, TestPool } from '@backhaul/pool/testing';

type Command = Parameters<TestPool['command']>[0];

export class RecordedPool extends TestPool {
  readonly log: StoredRecord[] = [];
  readonly #versions = new Map<string, number>();
  #occasion: Occasion['kind'] = 'confirmation';
  #causation: string | undefined;
  #appends = 0;

  override append(events: readonly HostEvent[]): void {
    if (events.length > 0) {
      const isSeen = events.every(({ type }) => type === 'ProxyLost');
      const kind = isSeen && this.#occasion === 'confirmation' ? 'drift' : this.#occasion;
      this.record(`host-${HOST}`, events, this.#causation ?? occasionText(HOST, { kind, at: this.now }));
    }
    super.append(events);
  }

  override settle(): ReturnType<TestPool['settle']> {
    return this.#on('look', () => super.settle());
  }

  override observe(seen?: Parameters<TestPool['observe']>[0]): void {
    this.#on('drift', () => super.observe(seen));
  }

  /** As news of another service, which the log has before what comes of it. */
  override command(command: Command): HostEvent[] {
    const news = newsOf(command);
    const stream = news.type === 'ProxiesCalculated' ? 'plan' : 'childJob';
    const [told] = this.record(`${stream}-${this.#appends}`, [news], 'a request');
    this.#causation = told?.eventId;
    try {
      // What the news asks for, and not the command: nobody cancels a run by news, so it fails.
      return super.command(react(news, told?.recordedAt ?? '').command);
    } finally {
      this.#causation = undefined;
    }
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

  #on<T>(kind: Occasion['kind'], work: () => T): T {
    const before = this.#occasion;
    this.#occasion = kind;
    try {
      return work();
    } finally {
      this.#occasion = before;
    }
  }
}

/** What another service says, for the pool to be asked this. */
function newsOf(command: Command): Event<PoolNews> {
  const ids = { hostId: HOST, vmId: 'vm' };
  switch (command.type) {
    case 'RequestActivation':
      return { type: 'ProxiesCalculated', data: command.plan };
    case 'RequestRecovery':
      return { type: 'RecoveryProxiesCalculated', data: command.plan };
    case 'ReleasePorts': {
      const { runId: backupId, childJobId, leaseId, reason, retryable } = command;
      const job = { ...ids, backupId, childJobId, leaseId, diskId: 'd0' };
      return (
        command.completed
          ? { type: 'ChildJobCompleted', data: job }
          : { type: 'ChildJobInterrupted', data: { ...job, reason, retryable } }
      ) as Event<PoolNews>;
    }
    default: {
      const backupId = 'runId' in command ? command.runId : '';
      const completed = command.type === 'EndRun' && command.outcome === 'completed';
      return {
        type: completed ? 'BackupCompleted' : 'BackupFailed',
        data: { ...ids, backupId },
      } as Event<PoolNews>;
    }
  }
}
