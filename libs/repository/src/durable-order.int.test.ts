/**
 * A killed process loses nothing of the page cache; power loss does, and cannot be had in a test. So this one watches
 * the real calls, and checks the order that docs/format.md ("Write order") says must be kept.
 */
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';

interface Call {
  readonly call: 'write' | 'datasync' | 'name' | 'sync begins' | 'sync ends';
  readonly path: string;
  readonly from?: string;
}

/** Records the calls that matter from now until the test ends; they all still happen. */
function recorded(): Call[] {
  const calls: Call[] = [];
  const { open, rename, link } = fs;
  const note = (call: Call['call'], path: string, from?: string): void => {
    calls.push(from === undefined ? { call, path } : { call, path, from });
  };
  fs.open = async (path, ...rest) => {
    const handle = await open(path, ...rest);
    const { write, datasync, sync } = handle;
    handle.write = ((...args: Parameters<typeof write>) => {
      note('write', String(path));
      return write.apply(handle, args);
    }) as typeof write;
    handle.datasync = async () => {
      await datasync.call(handle);
      note('datasync', String(path));
    };
    handle.sync = async () => {
      note('sync begins', String(path));
      await sync.call(handle);
      note('sync ends', String(path));
    };
    return handle;
  };
  fs.rename = async (from, to) => {
    await rename(from, to);
    note('name', String(to), String(from));
  };
  fs.link = async (from, to) => {
    await link(from, to);
    note('name', String(to), String(from));
  };
  syncBuiltinESMExports();
  onTestFinished(() => {
    Object.assign(fs, { open, rename, link });
    syncBuiltinESMExports();
  });
  return calls;
}

test('a file is synced before it gets its name, and its folder before it is acknowledged; a manifest comes last', async () => {
  const calls = recorded();
  const repository = await sampleRepository();
  await storeDisk(repository, 1, noise(100_000), 30_000);

  const named = calls.filter(({ call }) => call === 'name');
  const kinds = named.map(({ path }) => path.slice(repository.location.length + 1).split('/')[0]);
  expect(kinds).toEqual(['repository.json', 'chunks', 'chunks', 'chunks', 'chunks', 'maps', 'manifests']);
  for (const [n, name] of named.entries()) {
    const at = calls.indexOf(name);
    const lastWrite = calls.findLastIndex(({ call, path }) => call === 'write' && path === name.from);
    const synced = calls.findIndex(({ call, path }) => call === 'datasync' && path === name.from);
    expect(lastWrite, `${name.path} was written`).toBeGreaterThanOrEqual(0);
    expect(synced, `${name.path} was synced after its last write`).toBeGreaterThan(lastWrite);
    expect(synced, `${name.path} was synced before it was named`).toBeLessThan(at);

    const begins = calls.findIndex(
      ({ call, path }, i) => i > at && call === 'sync begins' && path === dirname(name.path),
    );
    const ends = calls.findIndex(
      ({ call, path }, i) => i > begins && call === 'sync ends' && path === dirname(name.path),
    );
    expect(begins, `the folder of ${basename(name.path)} was synced after it was named`).toBeGreaterThan(at);
    const next = named[n + 1];
    const nextAt = next === undefined ? calls.length : calls.indexOf(next);
    expect(ends, `that was awaited before the next file got its name`).toBeLessThan(nextAt);
    // The folder itself has a durable name too.
    const parentSynced = calls.findIndex(
      ({ call, path }) => call === 'sync ends' && path === dirname(dirname(name.path)),
    );
    expect(parentSynced).toBeGreaterThanOrEqual(0);
    expect(parentSynced).toBeLessThan(nextAt);
  }
});

test('a chunk that is there already is acknowledged only after its folder was synced', async () => {
  const writer = await sampleRepository();
  const data = noise(1000);
  const { digest } = await writer.putChunk(new Uint8Array(data));
  const reader = await sampleRepository({ location: writer.location });
  const calls = recorded();
  expect(await reader.putChunk(data)).toMatchObject({ digest, storedBytes: 0 });
  expect(calls.map(({ call, path }) => [call, basename(path)])).toEqual([
    ['sync begins', digest?.slice(0, 2)],
    ['sync ends', digest?.slice(0, 2)],
  ]);
});
