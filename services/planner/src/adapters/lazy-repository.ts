/**
 * The repository, opened when a recovery first needs it: backups are planned also where there is none yet. It is read from
 * only, and never made here.
 */
import { openRepository, type Repository } from '@backhaul/repository';

export interface LazyRepository {
  open(): Promise<Repository>;
  close(): Promise<void>;
}

export function repositoryAt(location: string): LazyRepository {
  let opening: Promise<Repository> | undefined;
  return {
    async open() {
      opening ??= openRepository({ location, create: false });
      const mine = opening;
      try {
        return await mine;
      } catch (error) {
        // There may be one the next time.
        if (opening === mine) opening = undefined;
        throw error;
      }
    },
    async close() {
      const opened = await opening?.catch(() => undefined);
      await opened?.close();
    },
  };
}
