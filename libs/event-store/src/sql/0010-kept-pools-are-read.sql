-- Whoever starts goes on from the pool that was kept, and not only the proxy-manager, who keeps it (libs/kept-pools).
grant select on public.kept_pools to backhaul_planner, backhaul_console;
