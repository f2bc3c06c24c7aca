-- Until when the bytes that were taken of a limit are spoken for: a throttle's present, and no history (docs/adr/0017). Instances of
-- ingest and export share it through the one function below, and nobody reads or writes it otherwise.
create table public.byte_rates (
  scope text collate "C" primary key,
  free_at timestamptz not null
) with (fillfactor = 50);

-- Takes the next `seconds` of what the scope may move: in how many seconds they are over, and their bytes may be moved. What nobody took
-- is not saved up, but for as much as one slice is worth.
create function public.take_slice(scope text, seconds double precision) returns double precision
  language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into public.byte_rates as r (scope, free_at)
  values (take_slice.scope, clock_timestamp() + make_interval(secs => least(greatest(take_slice.seconds, 0), 1)))
  on conflict (scope) do update
    set free_at = greatest(r.free_at, clock_timestamp() - interval '250 milliseconds')
      + make_interval(secs => least(greatest(take_slice.seconds, 0), 1))
  returning extract(epoch from r.free_at - clock_timestamp())::double precision
$$;

revoke execute on function public.take_slice from public;
grant execute on function public.take_slice to backhaul_ingest, backhaul_export;
