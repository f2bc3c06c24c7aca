/** The disk that end-to-end benchmarks back up. */
import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { MiB } from '@backhaul/kernel';
import { timed } from './peers.ts';

/** Text that compresses as text does, without repeating in the chunk size: numbered lines of words in random order. */
function text(bytes: number, firstLine: number): Buffer {
  const words =
    'the backup of a virtual machine goes through proxies and every change is an event in the log of the host'.split(
      ' ',
    );
  const lines: string[] = [];
  for (let length = 0; length < bytes; ) {
    const picked = Array.from({ length: 14 }, () => words[Math.floor(Math.random() * words.length)]);
    const line = `${firstLine + lines.length} ${picked.join(' ')} ${Math.random()}\n`;
    lines.push(line);
    length += line.length;
  }
  return Buffer.from(lines.join('').slice(0, bytes));
}

/** A qcow2 image: a third random, a third text, a third zero. */
export async function makeDisk(image: string, bytes: number): Promise<void> {
  const raw = `${image}.raw`;
  const third = Math.floor(bytes / 3 / (16 * MiB));
  const file = await open(raw, 'w');
  try {
    await file.truncate(bytes);
    for (let i = 0; i < third; i += 1) {
      await file.write(randomBytes(16 * MiB), 0, undefined, i * 16 * MiB);
      await file.write(text(16 * MiB, i * 1_000_000), 0, undefined, (third + i) * 16 * MiB);
    }
  } finally {
    await file.close();
  }
  await timed(`qemu-img convert -f raw -O qcow2 ${raw} ${image} && rm ${raw} && sync`);
}
