-- The commonest append of all, one event to a stream that stands as expected, without arrays to take apart: half of what
-- append_events (0001-log.sql) costs. Whatever else is the case (a stream that is not there yet, a conflict, a repeat, somebody else's category),
-- this decides nothing: it hands on to append_events, which has all the rules. What is locked, and in which order, is the same.
--
-- `expectation` as there. Answers outcome 0 (appended), -1 (a duplicate) or 1 (the stream is in the way); the version that the stream had;
-- the position; the time.
create function public.append_event(
  new_id uuid, stream text, expectation integer, new_type text, schema integer,
  new_correlation text, new_causation text, new_traceparent text, new_actor text, new_data json,
  out outcome integer, out stood_at integer, out new_position bigint, out recorded timestamptz
) language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
begin
  if expectation <> 0 then
    update public.streams s set version = s.version + 1
      where s.stream_id = stream
        and (s.version = expectation or expectation = -2 or expectation = -1 and s.version > 0)
        and exists (select from public.owners o where o.category = split_part(stream, '-', 1) and o.role = session_user)
        and not exists (select from public.events e where e.event_id = new_id)
      returning s.version - 1 into stood_at;
  end if;
  if stood_at is null then
    select a.outcomes[1], a.versions[1], a.positions[1], a.recorded_at into outcome, stood_at, new_position, recorded
      from public.append_events(
        array[new_id], array[new_causation], array[new_traceparent], array[new_actor],
        array[1], array[stream], array[expectation], array[1],
        array[new_id], array[1], array[1], array[new_type], array[schema],
        array[new_correlation], json_build_array(new_data)) a;
    return;
  end if;

  if new_actor like E'%\n%' then
    raise exception 'An actor is one line' using errcode = 'check_violation';
  end if;
  if concat(new_type, new_correlation, new_causation, new_traceparent) like E'%\n%' then
    raise exception 'A type, a correlation, a causation or a traceparent is one line' using errcode = 'check_violation';
  end if;
  perform pg_advisory_xact_lock_shared(1111573323, 1);
  new_position := nextval('public.log_position');
  recorded := clock_timestamp();
  outcome := 0;
  insert into public.events (
    position, event_id, stream_id, category, version, type, schema_version, data,
    correlation, causation, traceparent, actor, content_hash, recorded_at)
  values (
    new_position, new_id, stream, split_part(stream, '-', 1), stood_at + 1, new_type, schema, new_data,
    new_correlation, new_causation, new_traceparent, new_actor,
    public.content_hash(new_correlation, new_causation, new_traceparent, new_actor,
      new_id, stream, stood_at + 1, new_type, schema, new_data),
    recorded)
  -- Stored in this moment by somebody else, who was not seen yet above.
  on conflict (event_id) do nothing;
  if not found then
    update public.streams s set version = stood_at where s.stream_id = stream;
    outcome := -1;
    new_position := 0;
  end if;
end $$;

revoke execute on function public.append_event from public;
grant execute on function public.append_event to backhaul_service;
