/** The tree as the tidy test sees it: packages, their source files, and what each file imports. Reads only. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');

export interface SourceFile {
  /** Relative to the root of the repository. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  /** Specifiers as written, of static and dynamic imports and re-exports. */
  readonly imports: readonly string[];
}

export interface Package {
  readonly name: string;
  readonly folder: string;
  readonly layer: string;
  readonly dependencies: readonly string[];
  readonly exports: readonly string[];
  readonly scripts: readonly string[];
  readonly files: readonly SourceFile[];
}

interface PackageJson {
  name: string;
  bin?: Record<string, string>;
  exports?: Record<string, string>;
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

export const readPackages = (): Package[] =>
  ['libs', 'services', 'infra', 'test'].flatMap((layer) =>
    readdirSync(join(root, layer), { withFileTypes: true })
      .filter(
        (entry) => entry.isDirectory() && readdirSync(join(root, layer, entry.name)).includes('package.json'),
      )
      .map((entry) => readPackage(layer, join(layer, entry.name))),
  );

function readPackage(layer: string, folder: string): Package {
  const json = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as PackageJson;
  const files = readdirSync(join(root, folder, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => readSource(join(folder, 'src', path)));
  return {
    name: json.name,
    folder,
    layer,
    dependencies: Object.keys({ ...json.dependencies, ...json.devDependencies }),
    exports: [...Object.values(json.exports ?? {}), ...Object.values(json.bin ?? {})].map((path) =>
      join(folder, path),
    ),
    scripts: Object.values(json.scripts ?? {}),
    files,
  };
}

function readSource(path: string): SourceFile {
  const text = readFileSync(join(root, path), 'utf8');
  const found = text.matchAll(
    /(?:^\s*(?:import|export)\b[^;'"`]*?from\s*|^\s*import\s*|\bimport\(\s*|import\.meta\.resolve\(\s*)['"]([^'"]+)['"]/gm,
  );
  return { path, text, lines: text.split('\n').length, imports: [...found].map((match) => match[1] ?? '') };
}

export const isTest = (path: string): boolean =>
  /\.(test|fixture)\.ts$|\/testing(\/|\.ts$)|^test\//.test(path);

/** The file a relative import names, relative to the root. */
export const target = (from: string, specifier: string): string =>
  relative(root, resolve(join(root, dirname(from)), specifier));

/** `@scope/name` or `name` of a bare specifier. */
export const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
