/**
 * Selects from a tarball the modules that the entry points of a package import, and nothing else.
 *
 * @module
 */
import type { Recipe } from "./recipes.ts";

/** Static imports and re-exports at the start of a line, which excludes the examples of doc comments. */
const IMPORT = /^(?:import|export)\b[^"';]*?\bfrom\s*["']([^"']+)["']|^import\s*["']([^"']+)["']/gm;

/**
 * The files of one `@std` package: modules, each after its declaration file if there is one.
 *
 * @param recipe The recipe of the package.
 * @param archive The files of the recipe's tarball.
 * @param types Our declaration files, by path in the `@std` package.
 */
export function pickFiles(
  recipe: Recipe,
  archive: Map<string, Uint8Array>,
  types: Map<string, string>,
): Map<string, string> {
  const modules = strip(archive, recipe.modules);
  const declarations = recipe.declarations
    ? strip(archive, recipe.declarations)
    : new Map<string, Uint8Array>();
  const picked = new Map<string, string>();
  const open = Object.values(recipe.exports).map((path) => resolve(path, ""));
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (picked.has(path)) continue;
    const source = modules.get(path);
    if (source === undefined) {
      throw new Error(
        `${recipe.tarball.name}@${recipe.tarball.version} lacks ${path} for @std/${recipe.name}`,
      );
    }
    const code = withoutShims(decode(source));
    open.push(...importsOf(code, path));

    const typesPath = path.replace(/\.js$/, ".d.ts");
    const declaration = declarations.get(typesPath);
    const typesText = types.get(typesPath) ?? (declaration && withoutShims(decode(declaration)));
    if (typesText === undefined) {
      picked.set(path, code);
    } else {
      picked.set(path, `/* @ts-self-types="./${typesPath.split("/").at(-1)}" */\n${code}`);
      picked.set(typesPath, typesText);
      open.push(...importsOf(typesText, path));
    }
  }
  return picked;
}

/** The relative imports of a module, as paths in the package. */
function importsOf(code: string, path: string): string[] {
  return [...code.matchAll(IMPORT)]
    .map((match) => match[1] ?? match[2] ?? "")
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => resolve(specifier, path));
}

/** Resolves an import inside a package; the result can never leave the package. */
function resolve(specifier: string, from: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

/** Removes imported shims: code converted for Node uses them in place of `Deno` and `globalThis`, which exist here. */
function withoutShims(code: string): string {
  return code
    .replace(/^import \* as dntShim from .*\n/m, "")
    .replaceAll(/\bdntShim\.dntGlobalThis\b/g, "globalThis")
    .replaceAll(/\bdntShim\./g, "");
}

function strip(archive: Map<string, Uint8Array>, prefix: RegExp): Map<string, Uint8Array> {
  return new Map(
    [...archive].filter(([path]) => prefix.test(path)).map((
      [path, body],
    ) => [path.replace(prefix, ""), body]),
  );
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
