/** Imports, exports and runtime functions of source files, and rules about them. */

import { dirname, join } from "node:path/posix";

/** An import of one file. */
export interface Import {
  /** Path of the imported file in the tree, or the external specifier. */
  readonly from: string;
  /** Whether {@linkcode from} is outside of the tree. */
  readonly external: boolean;
  /** Imported names; `"*"` for all. */
  readonly names: readonly string[];
}

/** The parts of a file that the rules check. */
export interface SourceFile {
  readonly path: string;
  readonly imports: readonly Import[];
  readonly exports: readonly string[];
  /** Functions of the runtime for time and randomness that it uses, or the constants that wrap them. */
  readonly ambient: readonly string[];
  /** Number of occurrences of each name, including its declaration. */
  readonly mentions: ReadonlyMap<string, number>;
  readonly lines: number;
}

/** Objects of the runtime with functions for time or randomness. */
const AMBIENT_MEMBERS: Readonly<Record<string, string>> = { Math: "random", Date: "now", performance: "now" };
const TIMERS = ["setTimeout", "setInterval"];
/** Wrappers of these in lib/core. */
const AMBIENT_IMPORTS = ["systemClock", "systemRandom"];
/** Nodes in which a name is a member or a type, not a function of the runtime. */
const NAMING = ["TSPropertySignature", "TSMethodSignature", "PropertyDefinition", "MethodDefinition"];

/** Parses one file with the parser of `deno lint`. */
export function readSource(path: string, text: string): SourceFile {
  const imports: Import[] = [];
  const exports: string[] = [];
  const ambient = new Set<string>();
  const mentions = new Map<string, number>();
  const take = (specifier: string, names: string[]): void => {
    const external = !specifier.startsWith(".");
    imports.push({ from: external ? specifier : join(dirname(path), specifier), external, names });
  };
  const visitor: Deno.lint.LintVisitor = {
    ImportDeclaration({ source, specifiers }): void {
      const names = specifiers.map((each) =>
        each.type === "ImportSpecifier"
          ? nameOf(each.imported)
          : each.type === "ImportDefaultSpecifier"
          ? "default"
          : "*"
      );
      take(source.value, names);
      for (const name of names) if (AMBIENT_IMPORTS.includes(name)) ambient.add(name);
    },
    ExportNamedDeclaration({ source, specifiers, declaration }): void {
      if (source !== null) take(source.value, specifiers.map(({ local }) => nameOf(local)));
      exports.push(...specifiers.map(({ exported }) => nameOf(exported)), ...declaredNames(declaration));
    },
    ExportDefaultDeclaration: () => void exports.push("default"),
    ExportAllDeclaration: ({ source }) => take(source.value, ["*"]),
    ImportExpression({ source }): void {
      if (source.type === "Literal") take(String(source.value), ["*"]);
    },
    TSImportType({ argument, qualifier }): void {
      if (argument.type !== "TSLiteralType" || argument.literal.type !== "Literal") return;
      take(String(argument.literal.value), [qualifier?.type === "Identifier" ? qualifier.name : "*"]);
    },
    MemberExpression({ object, property }): void {
      if (object.type !== "Identifier" || property.type !== "Identifier") return;
      if (AMBIENT_MEMBERS[object.name] === property.name) ambient.add(`${object.name}.${property.name}`);
    },
    NewExpression({ callee, arguments: given }): void {
      if (callee.type === "Identifier" && callee.name === "Date" && given.length === 0) {
        ambient.add("new Date()");
      }
    },
    Identifier(node): void {
      mentions.set(node.name, (mentions.get(node.name) ?? 0) + 1);
      if (!TIMERS.includes(node.name)) return;
      const parent = node.parent!;
      if (NAMING.includes(parent.type) || parent.type === "TSTypeQuery") return;
      if (parent.type === "Property" && parent.key === node && parent.value !== node) return;
      if (parent.type === "MemberExpression" && parent.property === node) {
        if (parent.object.type !== "Identifier" || parent.object.name !== "globalThis") return;
      }
      ambient.add(node.name);
    },
  };
  Deno.lint.runPlugin({ name: "read", rules: { read: { create: () => visitor } } }, path, text);
  return { path, imports, exports, ambient: [...ambient], mentions, lines: text.split("\n").length - 1 };
}

function nameOf(node: { readonly type: string }): string {
  const { name, value } = node as { name?: string; value?: string };
  return name ?? value ?? "";
}

function declaredNames(declaration: Deno.lint.ExportNamedDeclaration["declaration"]): string[] {
  if (declaration === null) return [];
  if (declaration.type === "VariableDeclaration") return declaration.declarations.map(({ id }) => nameOf(id));
  return "id" in declaration && declaration.id !== null ? [nameOf(declaration.id)] : [];
}

/** Reads files from the paths and texts of a tree. */
export function readSources(texts: Readonly<Record<string, string>>): SourceFile[] {
  return Object.entries(texts).map(([path, text]) => readSource(path, text));
}

/** Reads the library: `mod.ts`, and every file of `lib/`. */
export function readLibrary(root: URL): Promise<SourceFile[]> {
  return readTree(root, "lib/", ["mod.ts"]);
}

/** Reads every file of `tests/`. */
export function readTests(root: URL): Promise<SourceFile[]> {
  return readTree(root, "tests/", []);
}

async function readTree(root: URL, top: string, files: readonly string[]): Promise<SourceFile[]> {
  const texts: Record<string, string> = {};
  const read = async (path: string): Promise<void> => {
    texts[path] = await Deno.readTextFile(new URL(path, root));
  };
  const walk = async (folder: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
      if (isDirectory) await walk(`${folder}${name}/`);
      else if (name.endsWith(".ts")) await read(folder + name);
    }
  };
  for (const file of files) await read(file);
  await walk(top);
  return readSources(texts);
}

/** The folder of a file below `lib/`, which is its layer; `undefined` for other files. */
function folderOf(path: string): string | undefined {
  return /^lib\/([^/]+)\//.exec(path)?.[1];
}

/**
 * Finds imports of layers that are not lower, and folders without a layer.
 *
 * @param layers lowest first; folders of one layer must not import each other
 */
export function findUpwardImports(
  files: readonly SourceFile[],
  layers: readonly (readonly string[])[],
): string[] {
  const heights = new Map(layers.flatMap((folders, height) => folders.map((folder) => [folder, height])));
  const found = new Set<string>();
  for (const { path, imports } of files) {
    const own = folderOf(path);
    if (own === undefined) continue;
    if (!heights.has(own)) found.add(`${path} is in no layer`);
    for (const { from, external } of imports) {
      if (external) continue;
      const other = folderOf(from);
      if (other === own) continue;
      if (other === undefined || heights.get(other)! >= heights.get(own)!) found.add(`${path} -> ${from}`);
    }
  }
  return [...found];
}

/**
 * Finds the shortest cycle of imports, including type imports; `null` if there is none.
 *
 * @param except imports to ignore, as `FROM -> TO`
 */
export function findCycle(files: readonly SourceFile[], except: readonly string[] = []): string[] | null {
  const next = new Map(files.map(({ path, imports }) => {
    const targets = imports.filter(({ external }) => !external).map(({ from }) => from);
    return [path, targets.filter((from) => !except.includes(`${path} -> ${from}`))];
  }));
  let shortest: string[] | null = null;
  for (const { path } of files) {
    const cycle = wayBack(path, next);
    if (cycle !== null && (shortest === null || cycle.length < shortest.length)) shortest = cycle;
  }
  return shortest;
}

/** The shortest cycle through a file, which is its first and last element. */
function wayBack(start: string, next: ReadonlyMap<string, readonly string[]>): string[] | null {
  const cameFrom = new Map<string, string>();
  // Grows during the iteration.
  const queue = [start];
  for (const path of queue) {
    for (const target of next.get(path) ?? []) {
      if (cameFrom.has(target)) continue;
      cameFrom.set(target, path);
      if (target !== start) {
        queue.push(target);
        continue;
      }
      const way = [start];
      do way.unshift(cameFrom.get(way[0]!)!); while (way[0] !== start);
      return way;
    }
  }
  return null;
}

/** Exceptions of {@linkcode findCycle} that are not needed to avoid cycles. */
export function findNeedlessCuts(files: readonly SourceFile[], except: readonly string[]): string[] {
  return except.filter((cut) => findCycle(files, except.filter((other) => other !== cut)) === null);
}

/** Finds uses of time and randomness that are not arguments. */
export function findAmbient(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, ambient }) => ambient.map((name) => `${path}: ${name}`));
}

/**
 * Finds exports of `lib/` that no other file imports.
 *
 * A part that its own file uses may be exported for its test.
 */
export function findUnusedExports(files: readonly SourceFile[], tests: readonly SourceFile[]): string[] {
  const used = new Set<string>();
  for (const { path, imports } of files) {
    for (const { from, names } of imports) {
      if (from !== path) { for (const name of names) used.add(`${from}: ${name}`); }
    }
  }
  const tested = new Set(
    tests.flatMap(({ imports }) =>
      imports.flatMap(({ from, names }) => names.map((name) => `${from}: ${name}`))
    ),
  );
  return files.flatMap(({ path, exports, mentions }) =>
    folderOf(path) === undefined || used.has(`${path}: *`) ? [] : exports
      .filter((name) => !used.has(`${path}: ${name}`))
      .filter((name) => (mentions.get(name) ?? 0) < 2 || !tested.has(`${path}: ${name}`))
      .map((name) => `${path}: ${name}`)
  );
}

/**
 * Finds files of `lib/` that should be part of their only importer.
 *
 * A separate file needs two importers, a test, or more than a page of lines.
 */
export function findSmallFiles(
  files: readonly SourceFile[],
  tests: readonly SourceFile[],
  page: number,
): string[] {
  const importersOf = (path: string, among: readonly SourceFile[]): number =>
    among.filter((file) => file.path !== path && file.imports.some(({ from }) => from === path)).length;
  return files.filter(({ path, lines }) =>
    folderOf(path) !== undefined && lines <= page && importersOf(path, files) < 2 &&
    importersOf(path, tests) === 0
  ).map(({ path }) => path);
}

/** Finds external imports of the files of some folders. */
export function findForeignImports(files: readonly SourceFile[], folders: readonly string[]): string[] {
  return files.filter(({ path }) => folders.includes(folderOf(path) ?? "")).flatMap(({ path, imports }) =>
    imports.filter(({ external }) => external).map(({ from }) => `${path}: ${from}`)
  );
}
