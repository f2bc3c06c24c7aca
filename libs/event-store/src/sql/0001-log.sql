-- The log: every state change of a deployment, in one table that only grows.
-- Who may do what: a service role selects, and appends through append_events; nobody updates, deletes or truncates.

create table public.owners (
  category text primary key,
  role name not null
);
comment on table public.owners is 'Which database role may append to the streams of a category. Kept in step with contracts by migrate.';

-- One row per stream: what an append locks, so that expectations hold under race. An update of it stays on its page.
-- Check constraints are read anew by every statement and cost more than all else in it: append_events checks in their place,
-- and nobody else can write here.
create table public.streams (
  stream_id text collate "C" primary key,
  version integer not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

create sequence public.log_position as bigint;

-- `data` is json, not jsonb: the bytes that were hashed are the bytes that are kept, and any string that JavaScript can
-- hold can be stored (jsonb refuses \u0000 and lone surrogates, which the text of a bad request may well contain).
create table public.events (
  position bigint primary key,
  event_id uuid not null unique,
  stream_id text collate "C" not null,
  category text collate "C" not null,
  version integer not null,
  type text collate "C" not null,
  schema_version smallint not null,
  data json not null,
  correlation text collate "C" not null,
  causation text collate "C" not null,
  traceparent text collate "C",
  actor text not null,
  content_hash bytea not null,
  recorded_at timestamptz not null,
  unique (stream_id, version)
);
create index events_correlation on public.events (correlation, position);

create function public.refuse_rewriting() returns trigger language plpgsql as $$
begin
  raise exception 'The log only grows: % of public.% is refused', tg_op, tg_table_name
    using errcode = 'insufficient_privilege', hint = 'Append an event that says what changed.';
end $$;

-- For each statement, so that even one that touches no row is refused, and for the owner of the table too.
create trigger events_only_grow before update or delete or truncate on public.events
  for each statement execute function public.refuse_rewriting();

-- The SHA-256 of what an event says and where it stands in its stream, as lines of UTF-8 that end in a line feed:
-- correlation, causation, traceparent (empty when there is none), actor, event_id, stream_id, version, type, schema_version;
-- then data as it is stored, to the end. Only data can hold a line feed. Position and time of recording are the log's own.
create function public.content_hash(
  correlation text, causation text, traceparent text, actor text, event_id uuid, stream_id text, version integer, type text,
  schema_version integer, data json
) returns bytea language sql stable as $$
  select sha256(convert_to(
    concat_ws(E'\n', correlation, causation, coalesce(traceparent, ''), actor, event_id, stream_id, version, type, schema_version, data),
    'UTF8'))
$$;

-- Appends the events of one or more commands. Each command is all or nothing over the streams it names; one that finds a stream
-- otherwise than expected is an answer, not an error, so that the others and the transaction around it can go on.
-- The order of what is locked matters:
--   1. stream rows, in ascending order: two appends over the same streams cannot deadlock;
--   2. then the log's lock, shared: held until commit, it makes readers (see high_water) wait for every position taken;
--   3. only then positions: a conflict takes none.
-- Row locks come before the log's lock, or a writer, a reader and a writer would wait for each other in a ring.
--
-- Per command: command_ids (the id of its first event: when that is stored, all are), actors.
-- Per stream: stream_commands, stream_ids, expectations (a version, or -1: at least one event, or -2: any), counts of events.
-- Per event: event_ids, event_streams (index of the stream), event_offsets (from 1 in its stream), types, schema_versions,
-- correlations, causations, traceparents, data.
-- Answers per command: 0 appended, -1 a duplicate, else the index of the stream in the way; per stream the version it had; per
-- event its position, 0 when it was not appended.
create function public.append_events(
  command_ids uuid[], causations text[], traceparents text[], actors text[],
  stream_commands integer[], stream_ids text[], expectations integer[], counts integer[],
  event_ids uuid[], event_streams integer[], event_offsets integer[], types text[], schema_versions integer[],
  correlations text[], data json,
  out outcomes integer[], out versions integer[], out positions bigint[], out recorded_at timestamptz
) language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan  -- an array of one and of a hundred are looked up alike: plan once, not every time
as $$
declare
  stands integer;
  repeated integer;
  at integer;
begin
  outcomes := array_fill(0, array[cardinality(command_ids)]);
  positions := array_fill(0::bigint, array[cardinality(event_ids)]);

  -- Every stream is moved on at once, which locks its row; it is put back when its command does not come about.
  for i in 1 .. cardinality(stream_ids) loop
    if i > 1 and stream_ids[i] collate "C" <= stream_ids[i - 1] collate "C" then
      raise exception 'Streams must be given once each and in ascending order: % after %', stream_ids[i], stream_ids[i - 1];
    end if;
    perform from public.owners o where o.category = split_part(stream_ids[i], '-', 1) and o.role = session_user;
    if not found then
      raise exception '% may not append to stream %: its category belongs to another service', session_user, stream_ids[i]
        using errcode = 'insufficient_privilege';
    end if;

    update public.streams s set version = s.version + counts[i] where s.stream_id = stream_ids[i]
      returning s.version into stands;
    if not found and expectations[i] in (0, -2) then
      if length(stream_ids[i]) > 400 or stream_ids[i] !~ '^[A-Za-z]+-[!-~]+$' then
        raise exception '% is no name for a stream', stream_ids[i] using errcode = 'check_violation';
      end if;
      insert into public.streams as s (stream_id, version) values (stream_ids[i], counts[i])
        -- Another append has made it since, and has committed.
        on conflict (stream_id) do update set version = s.version + excluded.version
        returning s.version into stands;
    end if;
    versions[i] := coalesce(stands - counts[i], 0);
    if not (versions[i] = expectations[i] or expectations[i] = -2 or (expectations[i] = -1 and versions[i] > 0)) then
      outcomes[stream_commands[i]] := i;
    end if;
  end loop;

  -- Weighs more than a conflict: a repeated command finds its streams moved on by itself.
  perform from public.events e where e.event_id = any (command_ids);
  if found then
    for repeated in
      select array_position(command_ids, e.event_id) from public.events e where e.event_id = any (command_ids)
    loop
      outcomes[repeated] := -1;
    end loop;
  end if;
  for i in 1 .. cardinality(stream_ids) loop
    if outcomes[stream_commands[i]] <> 0 then
      update public.streams s set version = versions[i] where s.stream_id = stream_ids[i];
    end if;
  end loop;
  if 0 <> all (outcomes) then
    return;
  end if;

  for i in 1 .. cardinality(command_ids) loop
    if actors[i] like E'%\n%' then
      raise exception 'An actor is one line' using errcode = 'check_violation';
    end if;
  end loop;

  perform pg_advisory_xact_lock_shared(1111573323, 1);
  for i in 1 .. cardinality(event_ids) loop
    if concat(types[i], correlations[i], causations[i], traceparents[i]) like E'%\n%' then
      raise exception 'A type, a correlation, a causation or a traceparent is one line' using errcode = 'check_violation';
    end if;
    if outcomes[stream_commands[event_streams[i]]] = 0 then
      positions[i] := nextval('public.log_position');
    end if;
  end loop;
  recorded_at := clock_timestamp();
  if cardinality(event_ids) = 1 then
    -- The same as below for the commonest append of all: taking arrays of one apart is a tenth of what it costs.
    if positions[1] > 0 then
      at := event_streams[1];
      insert into public.events (
        position, event_id, stream_id, category, version, type, schema_version, data,
        correlation, causation, traceparent, actor, content_hash, recorded_at)
      select
        positions[1], event_ids[1], stream_ids[at], split_part(stream_ids[at], '-', 1), versions[at] + event_offsets[1],
        types[1], schema_versions[1], given.data,
        correlations[1], causations[1], traceparents[1], actors[stream_commands[at]],
        public.content_hash(correlations[1], causations[1], traceparents[1], actors[stream_commands[at]],
          event_ids[1], stream_ids[at], versions[at] + event_offsets[1], types[1], schema_versions[1], given.data),
        append_events.recorded_at
      -- Not `data -> 0`, which refuses \u0000 and lone surrogates on its way to an element.
      from json_array_elements(append_events.data) as given(data);
    end if;
    return;
  end if;
  insert into public.events (
    position, event_id, stream_id, category, version, type, schema_version, data,
    correlation, causation, traceparent, actor, content_hash, recorded_at)
  select e.position, e.id, e.stream_id, split_part(e.stream_id, '-', 1), e.version, e.type, e.schema, e.data,
    e.correlation, e.causation, e.traceparent, actors[e.command],
    public.content_hash(e.correlation, e.causation, e.traceparent, actors[e.command],
      e.id, e.stream_id, e.version, e.type, e.schema, e.data),
    append_events.recorded_at
  from (
    select given.*, stream_ids[given.stream] as stream_id, versions[given.stream] + given.step as version,
      stream_commands[given.stream] as command
    from rows from (
      unnest(
        positions, event_ids, event_streams, event_offsets, types, schema_versions, correlations, causations, traceparents),
      json_array_elements(append_events.data)
    ) as given(position, id, stream, step, type, schema, correlation, causation, traceparent, data)
  ) e
  where e.position > 0;
end $$;

-- Everything at or below the answer is visible, for good: the exclusive side of the log's lock waits for every append that has
-- taken a position and not committed yet. Null when they did not end within 50 ms; new appends queue behind this wait, so
-- it must be short.
create function public.high_water() returns bigint
  language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as $$
declare
  answer bigint;
begin
  perform pg_advisory_xact_lock(1111573323, 1);
  select case when p.is_called then p.last_value else 0 end into answer from public.log_position p;
  return answer;
exception when lock_not_available then
  return null;
end $$;

revoke execute on function public.append_events, public.high_water from public;
grant execute on function public.append_events, public.high_water to backhaul_service;
grant select on public.events, public.streams, public.owners to backhaul_service;
