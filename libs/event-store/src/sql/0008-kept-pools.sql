-- The pool of a host as it was at a version of its stream: what a start need not fold again (services/proxy-manager/src/kept-pools.ts). A
-- cache and no truth: a row may be deleted at any time, and one that is not understood is passed over.
create table public.kept_pools (
  host_id text collate "C" primary key,
  version integer not null,
  -- The event of that version: a row that is of another log has another one.
  event_id uuid not null,
  -- What folded it: another release folds otherwise.
  code text not null,
  state bytea not null,
  kept_at timestamptz not null default now()
);
-- Packing it is a waste of the server's time: it is read once a start.
alter table public.kept_pools alter column state set storage external;

grant select, insert, update, delete on public.kept_pools to backhaul_proxy_manager;
