-- What services note beside the log, in the same transaction as their appends.

-- A message that was handled: the row and what the handler did become true together.
create table public.inbox (
  consumer text not null,
  event_id text not null,
  handled_at timestamptz not null default now(),
  primary key (consumer, event_id)
);

-- How far the log has been published. `stream_created` names the JetStream stream it was published to: another one is empty
-- and must be filled again from the start; and so must one without the service's event at `stream_sequence` (it came back from a copy).
create table public.relay_checkpoints (
  service text primary key,
  position bigint not null default 0,
  stream_created text,
  stream_sequence bigint not null default 0,
  updated_at timestamptz not null default now()
);
alter table public.relay_checkpoints enable row level security;
create policy seen_by_all on public.relay_checkpoints for select using (true);
create policy written_by_its_service on public.relay_checkpoints for all
  using (current_user = 'backhaul_' || replace(service, '-', '_'));

-- A message that can never work, kept whole with the reason, until somebody sends it again.
create table public.dead_letters (
  id bigint generated always as identity primary key,
  consumer text not null,
  subject text not null,
  message_id text not null,
  headers jsonb not null,
  body bytea not null,
  reason text not null,
  event_id uuid,
  created_at timestamptz not null default now(),
  redriven_at timestamptz
);
create index dead_letters_open on public.dead_letters (created_at) where redriven_at is null;

grant select, insert, update, delete on public.inbox to backhaul_service;
grant select, insert, update on public.relay_checkpoints, public.dead_letters to backhaul_service;
