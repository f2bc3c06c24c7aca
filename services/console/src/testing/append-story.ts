/** Puts a fabricated story into a real log: every event by the service that owns its category, in the order told. */
import { type Category, categoryOf, owners, type Service } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import type { Told } from './story.ts';

export interface Narrator {
  tell(story: readonly Told[]): Promise<void>;
}

export function narrator(storeOf: (service: Service) => Promise<EventStore>): Narrator {
  const stores = new Map<Service, Promise<EventStore>>();
  const ownerOf = (told: Told): Service => owners[categoryOf(told.stream) as Category];
  let batches = 0;

  const append = async (batch: readonly Told[]): Promise<void> => {
    const [first] = batch;
    if (first === undefined) return;
    const service = ownerOf(first);
    const store = stores.get(service) ?? storeOf(service);
    stores.set(service, store);
    batches += 1;
    const result = await (await store).append(
      [{ stream: first.stream, expected: 'any', events: batch.map((told) => told.event) }],
      {
        commandId: `story ${batches}`,
        metadata: { correlation: first.correlation, causation: 'story', actor: service },
      },
    );
    if (!result.ok) throw new Fault(`The story could not be appended: ${result.refusal.message}`);
  };

  return {
    async tell(story) {
      let batch: Told[] = [];
      for (const told of story) {
        const [first] = batch;
        if (first !== undefined && (told.stream !== first.stream || told.correlation !== first.correlation)) {
          await append(batch);
          batch = [];
        }
        batch.push(told);
      }
      await append(batch);
    },
  };
}
