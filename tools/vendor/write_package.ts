/**
 * Writes a package in the form in which Deno keeps packages from JSR.
 *
 * @module
 */
import type { Recipe } from "./recipes.ts";

/** The metadata of one version on JSR: its entry points, and the size and checksum of each file. */
export interface VersionMeta {
  exports: Record<string, string>;
  manifest: Record<string, { size: number; checksum: string }>;
}

/** Writes `meta.json`, `VERSION_meta.json` and the files of a package into a new folder, whose URL ends with `/`. */
export async function writePackage(folder: URL, recipe: Recipe, files: Map<string, string>): Promise<void> {
  const { name, version } = recipe;
  await Deno.mkdir(folder, { recursive: true });
  for (const [path, text] of files) {
    const target = new URL(`${version}/${path}`, folder);
    await Deno.mkdir(new URL("./", target), { recursive: true });
    await Deno.writeTextFile(target, text);
  }
  const meta = { scope: "std", name, latest: version, versions: { [version]: {} } };
  await Deno.writeTextFile(new URL("meta.json", folder), JSON.stringify(meta));
  await Deno.writeTextFile(
    new URL(`${version}_meta.json`, folder),
    JSON.stringify(await versionMeta(recipe, files)),
  );
}

/** The `VERSION_meta.json` of a package. */
export async function versionMeta(recipe: Recipe, files: Map<string, string>): Promise<VersionMeta> {
  const manifest: VersionMeta["manifest"] = {};
  for (const [path, text] of files) {
    const bytes = new TextEncoder().encode(text);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    manifest[`/${path}`] = { size: bytes.length, checksum: `sha256-${digest.toHex()}` };
  }
  return { exports: recipe.exports, manifest };
}
