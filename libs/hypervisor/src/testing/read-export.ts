/** Reads exports as ingest does, for tests: whole, and by their changed extents. */
import type { Extent } from '@backhaul/kernel';
import { connectNbd, STATE_DIRTY } from '@backhaul/nbd';

export async function readExport(uri: string): Promise<Buffer> {
  const client = await connectNbd({ uri, garbledMilliseconds: 5_000 });
  try {
    const contents = Buffer.alloc(client.sizeBytes);
    await client.read(0, client.sizeBytes, contents);
    return contents;
  } finally {
    await client.close();
  }
}

export async function changedExtents(uri: string, context: string): Promise<Extent[]> {
  const client = await connectNbd({ uri, contexts: [context] });
  try {
    const changed: Extent[] = [];
    for await (const { offset, length, flags } of client.blockStatus(context, 0, client.sizeBytes)) {
      if ((flags & STATE_DIRTY) !== 0) changed.push({ offset, length });
    }
    return changed;
  } finally {
    await client.close();
  }
}
