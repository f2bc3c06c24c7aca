-- Nearly all of a log is chunks: a quarter of a million events for each TiB. Whoever asks for anything else (every schedule, the mounts
-- that are open, which child jobs of a run have completed) must not walk over them. Chunks are in neither index: their appends, which
-- come by the hundred, pay nothing. A query is served by one of these only when it repeats the predicate (reading.ts).
create index events_by_type on public.events (type, position) where type not in ('ChunkReceived', 'ChunkExported');
create index events_of_run on public.events (correlation, position) where type not in ('ChunkReceived', 'ChunkExported');

-- A service that was started before the database was brought to its release finds that out, and waits (schema.ts).
grant select on public.schema_migrations to backhaul_service;
