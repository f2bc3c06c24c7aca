-- The console keeps its projections in a schema of its own: they can be dropped and built again from the log.
create schema if not exists console authorization backhaul_console;
