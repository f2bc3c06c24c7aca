/** Which repository the backups of this deployment are in, as the log has it: see RepositoryAdopted. */
import { deploymentRepositoryStream, type EventData } from '@backhaul/contracts';
import type { StreamReader } from './event-store.ts';

export interface AdoptedRepository {
  /** Undefined where none was used yet, or only by a release that did not note it. */
  readonly repository: EventData<'RepositoryAdopted'> | undefined;
  readonly version: number;
}

export async function adoptedRepository(reader: StreamReader): Promise<AdoptedRepository> {
  let repository: AdoptedRepository['repository'];
  let version = 0;
  for await (const event of reader.readStream(deploymentRepositoryStream)) {
    if (event.type === 'RepositoryAdopted') repository = event.data;
    version = event.version;
  }
  return { repository, version };
}
