/**
 * Checks in a few milliseconds whether a folder that this tool has filled is up to date.
 *
 * @module
 */

/** The file in the vendor folder with the fingerprint of its contents. */
export const STAMP = ".lbproxy_vendor";

/** A checksum of all that determines the contents: the recipes, the tool, and our type declarations. */
export async function fingerprint(tools: URL): Promise<string> {
  const paths = await listFiles(new URL("vendor/", tools));
  paths.push(...await listFiles(new URL("types/", tools)));
  const texts = await Promise.all(paths.map((path) => Deno.readTextFile(path)));
  const bytes = new TextEncoder().encode(texts.join("\0"));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Our declaration files by path of the module that they describe, with `.d.ts` for `.js`. */
export async function readTypes(tools: URL): Promise<Map<string, string>> {
  const root = new URL("types/", tools);
  const paths = await listFiles(root);
  const entries = paths.map(async (path): Promise<[string, string]> => [
    path.href.slice(root.href.length),
    await Deno.readTextFile(path),
  ]);
  return new Map(await Promise.all(entries));
}

/** Every file below a folder, in an order that does not depend on the file system. */
async function listFiles(folder: URL): Promise<URL[]> {
  const found: URL[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.isDirectory) found.push(...await listFiles(new URL(`${entry.name}/`, folder)));
    else found.push(new URL(entry.name, folder));
  }
  return found.sort((a, b) => a.href < b.href ? -1 : 1);
}
