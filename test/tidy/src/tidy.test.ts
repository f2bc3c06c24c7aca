/**
 * Rules of the tree that no compiler checks, each said as a sentence. A rule that is in the way is changed here, in the
 * open, with its reason; it is not worked around.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isTest, packageOf, readPackages, root, type SourceFile, target } from './source-tree.ts';

const packages = readPackages();
const files = packages.flatMap((pack) => pack.files.map((file) => ({ pack, file })));
const production = files.filter(({ file }) => !isTest(file.path));
const isBare = (specifier: string): boolean => !specifier.startsWith('.') && !specifier.startsWith('node:');

/** Pure libraries: decisions and arithmetic, no I/O. What they may import of Node computes and does not wait. */
const PURE = [
  '@backhaul/kernel',
  '@backhaul/contracts',
  '@backhaul/planning',
  '@backhaul/pool',
  '@backhaul/replay',
  '@backhaul/simulation',
];
const PURE_NODE = ['node:assert/strict', 'node:crypto', 'node:v8'];

describe('imports', () => {
  test('every package that a file imports is declared by its own package', () => {
    const wrong = files.flatMap(({ pack, file }) =>
      file.imports
        .filter(isBare)
        .map(packageOf)
        .filter(
          (name) => name !== pack.name && !pack.dependencies.includes(name) && !rootTools.includes(name),
        )
        .map((name) => `${file.path} imports ${name}, which ${pack.folder}/package.json does not declare`),
    );
    expect(wrong).toEqual([]);
  });

  test('every dependency that a package declares is imported by it', () => {
    const wrong = packages.flatMap((pack) => {
      const used = new Set(pack.files.flatMap((file) => file.imports.filter(isBare).map(packageOf)));
      return pack.dependencies
        .filter((name) => !used.has(name))
        .map((name) => `${pack.folder} declares ${name} and never imports it`);
    });
    expect(wrong).toEqual([]);
  });

  test('packages are entered by their doors, never by a path into their source', () => {
    const wrong = files.flatMap(({ pack, file }) =>
      file.imports
        .filter(
          (specifier) =>
            specifier.startsWith('.') && !target(file.path, specifier).startsWith(`${pack.folder}/`),
        )
        .map((specifier) => `${file.path} reaches out of its package with ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test('pure libraries do no I/O', () => {
    const wrong = production
      .filter(({ pack }) => PURE.includes(pack.name))
      .flatMap(({ file }) =>
        file.imports
          .filter((name) => name.startsWith('node:') && !PURE_NODE.includes(name))
          .map((name) => `${file.path} imports ${name}`),
      );
    expect(wrong).toEqual([]);
  });

  test('services meet only through contracts: none imports another', () => {
    const services = packages.filter((pack) => pack.layer === 'services').map((pack) => pack.name);
    const wrong = packages
      .filter((pack) => pack.layer === 'services' || pack.layer === 'libs')
      .flatMap((pack) =>
        pack.dependencies
          .filter((name) => services.includes(name))
          .map((name) => `${pack.folder} depends on ${name}`),
      );
    expect(wrong).toEqual([]);
  });

  test('libraries do not depend on infrastructure, but for tests and the command line', () => {
    const wrong = production
      .filter(({ pack }) => pack.layer !== 'infra' && pack.name !== '@backhaul/cli')
      .filter(({ file }) => file.imports.includes('@backhaul/local'))
      .map(({ file }) => `${file.path} imports @backhaul/local`);
    expect(wrong).toEqual([]);
  });

  test.each([
    ['nats', ['@backhaul/messaging', '@backhaul/client', '@backhaul/local', '@backhaul/bench']],
    [
      'pg',
      [
        '@backhaul/event-store',
        '@backhaul/messaging',
        '@backhaul/service',
        '@backhaul/console',
        '@backhaul/local',
        '@backhaul/bench',
      ],
    ],
  ])('%s is wrapped in few places and used nowhere else', (name, allowed) => {
    const wrong = production
      .filter(({ pack, file }) => file.imports.map(packageOf).includes(name) && !allowed.includes(pack.name))
      .map(({ file }) => `${file.path} imports ${name}`);
    expect(wrong).toEqual([]);
  });
});

describe('files', () => {
  test('every source file is reached from a door, a main, a script or a test', () => {
    const byPath = new Map(files.map(({ file }) => [file.path, file]));
    const reached = new Set<string>();
    const visit = (file: SourceFile | undefined): void => {
      if (file === undefined || reached.has(file.path)) return;
      reached.add(file.path);
      for (const specifier of file.imports)
        if (specifier.startsWith('.')) visit(byPath.get(target(file.path, specifier)));
      // A file that is started rather than imported is named by its URL or path.
      for (const [, name] of file.text.matchAll(/['"`](\.{1,2}\/[\w./-]+\.ts)['"`]/g))
        visit(byPath.get(target(file.path, name ?? '')));
    };
    for (const pack of packages) for (const door of pack.exports) visit(byPath.get(door));
    for (const { file } of files) {
      if (
        /\.test\.ts$|\/main\.ts$|vitest\.config\.ts$/.test(file.path) ||
        scripts.some((script) => script.includes(file.path))
      )
        visit(file);
    }
    expect(files.map(({ file }) => file.path).filter((path) => !reached.has(path))).toEqual([]);
  });

  test('files fit in the head: at most 350 lines', () => {
    expect(
      files.filter(({ file }) => file.lines > 350).map(({ file }) => `${file.path}: ${file.lines}`),
    ).toEqual([]);
  });

  test('a file of more than 60 lines says at its head what it promises', () => {
    const wrong = production
      .filter(({ file }) => file.lines > 60 && !/^(#!.*\n)?\/\*\*/.test(file.text))
      .filter(({ file }) => !/^(import[^;]+;\s*)+\/\*\*/.test(file.text))
      .map(({ file }) => file.path);
    expect(wrong).toEqual([]);
  });

  test('no file is named for a drawer', () => {
    const drawer = /(^|\/)(utils?|helpers?|common|misc|manager2)(\.ts|\/)/;
    expect(files.map(({ file }) => file.path).filter((path) => drawer.test(path))).toEqual([]);
  });

  test('no test is skipped or focused, and none sleeps', () => {
    const wrong = files
      .filter(({ file }) => isTest(file.path) && file.path !== 'test/tidy/src/tidy.test.ts')
      .flatMap(({ file }) =>
        file.text
          .split('\n')
          .filter((line) => /\b(test|it|describe)\.(skip|only|todo)\b|\bsleep\(/.test(line))
          .map((line) => `${file.path}: ${line.trim()}`),
      );
    expect(wrong).toEqual([]);
  });

  test('nothing is left for later in a comment', () => {
    const wrong = production
      .filter(({ file }) => /\b(TODO|FIXME|XXX|HACK)\b/.test(file.text))
      .map(({ file }) => file.path);
    expect(wrong).toEqual([]);
  });
});

const rootJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  devDependencies: Record<string, string>;
};
const scripts = [...Object.values(rootJson.scripts), readFileSync(join(root, 'vitest.config.ts'), 'utf8')];
/** Tools of the whole repository, declared once at its root. */
const rootTools = Object.keys(rootJson.devDependencies);
