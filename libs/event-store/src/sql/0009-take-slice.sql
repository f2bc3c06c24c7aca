-- As 0005-byte-rates.sql, but for a clock that was ahead when it was set right, or a machine that took over and is behind: what is spoken for
-- farther away than all who share a limit could have taken is not believed.
create or replace function public.take_slice(scope text, seconds double precision) returns double precision
  language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into public.byte_rates as r (scope, free_at)
  values (take_slice.scope, clock_timestamp() + make_interval(secs => least(greatest(take_slice.seconds, 0), 1)))
  on conflict (scope) do update
    set free_at = least(greatest(r.free_at, clock_timestamp() - interval '250 milliseconds'), clock_timestamp() + interval '30 seconds')
      + make_interval(secs => least(greatest(take_slice.seconds, 0), 1))
  returning extract(epoch from r.free_at - clock_timestamp())::double precision
$$;
