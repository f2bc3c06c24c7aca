-- A chain of signed statements about ranges of the log (docs/adr/0012). The statement is kept as the text that was signed; `entries`
-- holds 40 bytes for each event of the range, of which the statement has the SHA-256: they say where a difference is.
create table public.seals (
  seal bigint primary key,
  statement text not null,
  signature bytea not null,
  entries bytea not null
);
create trigger seals_only_grow before update or delete or truncate on public.seals
  for each statement execute function public.refuse_rewriting();

-- Whoever seals can append no event, and whoever appends events cannot seal.
grant select on public.seals to backhaul_service;
grant insert on public.seals to backhaul_console;
