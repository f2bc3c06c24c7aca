/**
 * Where a relay stands, kept in Postgres: the position up to which the log is published without a gap, and the JetStream
 * stream it was published to. A stream that is another one, or that no longer holds the last message, has lost messages.
 */
import { Fault } from '@backhaul/kernel';
import type pg from 'pg';

export interface RelayCheckpoint {
  readonly position: number;
  readonly streamCreated: string | null;
  /** The last sequence under which the stream stored an event of this service; 0 for none yet. */
  readonly streamSequence: number;
}

/** What of a stream tells whether it still holds what was published to it. */
export interface StreamIdentity {
  readonly created: string;
  /** The subject of the message at the checkpoint's sequence; undefined when there is none. */
  readonly subjectThere: string | undefined;
}

const START: RelayCheckpoint = { position: 0, streamCreated: null, streamSequence: 0 };

/**
 * Why everything must be published again; undefined when the stream is the one that was filled. Only the message itself
 * proves it: a stream that came back from a copy may have grown past the sequence since, by what others publish.
 */
export function reasonToRefill(
  checkpoint: RelayCheckpoint,
  stream: StreamIdentity,
  service: string,
): string | undefined {
  const { streamCreated, streamSequence } = checkpoint;
  if (streamCreated === null) return undefined;
  if (streamCreated !== stream.created)
    return `the stream was made anew at ${stream.created}; the one published to was of ${streamCreated}`;
  if (streamSequence > 0 && stream.subjectThere?.startsWith(`evt.${service}.`) !== true)
    return `what was stored at sequence ${streamSequence} is no longer there`;
  return undefined;
}

export async function readCheckpoint(client: pg.ClientBase, service: string): Promise<RelayCheckpoint> {
  const { rows } = await client.query<{ position: string; created: string | null; sequence: string }>(
    `select position, stream_created as created, stream_sequence as sequence
     from public.relay_checkpoints where service = $1`,
    [service],
  );
  const row = rows[0];
  if (row === undefined) return START;
  return {
    position: Number(row.position),
    streamCreated: row.created,
    streamSequence: Number(row.sequence),
  };
}

/** Moves the checkpoint from where this relay left it. Throws when somebody else has moved it (asked for a refill). */
export async function moveCheckpoint(
  client: pg.ClientBase,
  service: string,
  from: RelayCheckpoint,
  to: RelayCheckpoint,
): Promise<RelayCheckpoint> {
  const { rowCount } = await client.query(
    `insert into public.relay_checkpoints as c (service, position, stream_created, stream_sequence)
     values ($1, $2, $3, $4)
     on conflict (service) do update
       set position = excluded.position, stream_created = excluded.stream_created,
           stream_sequence = excluded.stream_sequence, updated_at = now()
       where c.position = $5`,
    [service, to.position, to.streamCreated, to.streamSequence, from.position],
  );
  if (rowCount !== 1) throw new Fault(`The relay's checkpoint of ${service} was moved from ${from.position}`);
  return to;
}
