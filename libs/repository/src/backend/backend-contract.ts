/**
 * What every backend must do, as tests. An adapter's own test file calls this with a way to make an empty one; two
 * instances made for the same place stand for two processes.
 */
import { describe, expect, test } from 'vitest';
import { collected } from '../testing/collected.ts';
import type { Backend } from './backend.ts';

export function backendContract(makePlace: () => Promise<() => Backend>): void {
  const text = (value: string): Uint8Array => Buffer.from(value);
  const read = async (backend: Backend, name: string): Promise<string | undefined> => {
    const bytes = await backend.get(name, 1000);
    return bytes === undefined ? undefined : Buffer.from(bytes).toString();
  };

  describe('a backend', () => {
    test('keeps what was put, under its name, for every instance', async () => {
      const open = await makePlace();
      expect(await open().put('a/b/c', [text('one '), text('two')])).toBe('stored');
      expect(await read(open(), 'a/b/c')).toBe('one two');
      expect(Buffer.concat(await collected(open().stream('a/b/c'))).toString()).toBe('one two');
      expect(await open().has('a/b/c')).toBe(true);
    });

    test('gives a part of a file, and less where it ends', async () => {
      const backend = (await makePlace())();
      await backend.put('a/b', [text('0123456789')]);
      const part = async (position: number, length: number): Promise<string> =>
        Buffer.from(await backend.getPart('a/b', position, length)).toString();
      expect([await part(0, 10), await part(3, 4), await part(8, 5), await part(20, 5)]).toEqual([
        '0123456789',
        '3456',
        '89',
        '',
      ]);
      await expect(backend.getPart('a/c', 0, 1)).rejects.toMatchObject({ permanent: true });
    });

    test('puts a file into memory that is there already, shared or not, and touches nothing behind it', async () => {
      const backend = (await makePlace())();
      await backend.put('a/b', [text('0123456789')]);
      for (const memory of [new ArrayBuffer(16), new SharedArrayBuffer(16)]) {
        const target = new Uint8Array(memory, 2, 12).fill(0x2e);
        expect(await backend.getInto('a/b', target)).toBe(10);
        expect(String.fromCharCode(...target)).toBe('0123456789..');
        expect(await backend.getInto('a/b', target.subarray(0, 10))).toBe(10);
        expect(await backend.getInto('a/c', target)).toBeUndefined();
      }
    });

    test('says of what it does not have that it does not have it', async () => {
      const backend = (await makePlace())();
      expect(await backend.get('a/b', 1000)).toBeUndefined();
      expect(await backend.has('a/b')).toBe(false);
      expect(await collected(backend.list('a'))).toEqual([]);
      await expect(collected(backend.stream('a/b'))).rejects.toThrow(/a\/b is missing/);
      await backend.delete('a/b');
    });

    test('names the first of many that is missing', async () => {
      const backend = (await makePlace())();
      const names = Array.from({ length: 200 }, (_, n) => `many/${n}`);
      await Promise.all(names.map((name) => backend.put(name, [text(name)])));
      expect(await backend.firstMissing([])).toBeUndefined();
      expect(await backend.firstMissing(names)).toBeUndefined();
      await Promise.all([3, 150].map((n) => backend.delete(`many/${n}`)));
      expect(await backend.firstMissing(names)).toBe('many/3');
      expect(await backend.firstMissing(names.slice(4))).toBe('many/150');
    });

    test('replaces a file whole, or keeps the first when asked to', async () => {
      const backend = (await makePlace())();
      await backend.put('a', [text('first')]);
      expect(await backend.put('a', [text('second')])).toBe('stored');
      expect(await backend.put('a', [text('third')], { ifAbsent: true })).toBe('present');
      expect(await read(backend, 'a')).toBe('second');
    });

    test('lets one of many win who put the same name if absent', async () => {
      const open = await makePlace();
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, (_, n) => open().put('a/b', [text(`writer ${n}`)], { ifAbsent: true })),
      );
      expect(outcomes.filter((outcome) => outcome === 'stored')).toHaveLength(1);
      expect(await read(open(), 'a/b')).toBe(`writer ${outcomes.indexOf('stored')}`);
    });

    test('shows nothing of a staged file before it is committed, nor ever when it is discarded', async () => {
      const open = await makePlace();
      const [kept, dropped] = [await open().stage(), await open().stage()];
      await kept.write(text('one '));
      await dropped.write(text('never'));
      expect(await open().has('a/kept')).toBe(false);
      await kept.write(text('two'));
      await kept.commit('a/kept');
      await Promise.all([kept.discard(), kept.discard(), dropped.discard()]);
      expect(await read(open(), 'a/kept')).toBe('one two');
      expect(await collected(open().list('a'))).toEqual(['kept']);
    });

    test('lists what lies directly in a folder', async () => {
      const backend = (await makePlace())();
      await Promise.all(['a/1', 'a/2', 'b/3'].map((name) => backend.put(name, [text(name)])));
      expect((await collected(backend.list('a'))).sort()).toEqual(['1', '2']);
      await backend.delete('a/1');
      expect(await collected(backend.list('a'))).toEqual(['2']);
    });

    test('refuses to read into memory what is larger than it may be', async () => {
      const backend = (await makePlace())();
      await backend.put('a', [Buffer.alloc(1001)]);
      await expect(backend.get('a', 1000)).rejects.toMatchObject({ permanent: true });
      await expect(backend.getInto('a', new Uint8Array(1000))).rejects.toMatchObject({ permanent: true });
    });

    test('takes many puts at once', async () => {
      const backend = (await makePlace())();
      const names = Array.from({ length: 100 }, (_, n) => `many/${n % 7}/${n}`);
      await Promise.all(names.map((name) => backend.put(name, [text(name)])));
      expect(await Promise.all(names.map((name) => read(backend, name)))).toEqual(names);
    });
  });
}
