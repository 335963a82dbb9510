/**
 * Fills the vendor folder, completely or not at all, and only if needed.
 *
 * @module
 */
import { fingerprint, readTypes, STAMP } from "./fingerprint.ts";
import { pickFiles } from "./pick.ts";
import type { Recipe, Tarball } from "./recipes.ts";
import { readTarball } from "./tar.ts";
import { writePackage } from "./write_package.ts";

/** Network access of the tool; tests pass their own. */
export interface Network {
  findJsr(): Promise<URL>;
  jsrProblem(jsr: URL): Promise<string | undefined>;
  fetchTarball(tarball: Tarball): Promise<Uint8Array<ArrayBuffer>>;
}

/** The folders. */
export interface Places {
  /** The folder that Deno searches; ends with `/`. */
  vendor: URL;
  /** The folder of this tool; ends with `/`. */
  tools: URL;
}

/** The result of a run. */
export type Outcome = "up to date" | "left to Deno" | "filled";

/** Ensures that the packages of the recipes can be loaded: from the vendor folder, or by Deno from JSR. */
export async function ensureVendor(places: Places, recipes: Recipe[], network: Network): Promise<Outcome> {
  const wanted = await fingerprint(places.tools);
  if (await readStamp(places.vendor) === wanted) return "up to date";
  await Deno.mkdir(places.vendor, { recursive: true });
  // Two tasks may start at the same time. The lock is released when its process ends, for any reason.
  using lock = await Deno.open(new URL(`${STAMP}.lock`, places.vendor), { create: true, write: true });
  await lock.lock(true);
  const stamp = await readStamp(places.vendor);
  if (stamp === wanted) return "up to date";
  if (stamp === undefined && await filledByDeno(places.vendor, recipes)) return "up to date";

  const jsr = await network.findJsr();
  const problem = await network.jsrProblem(jsr);
  if (problem === undefined) {
    if (stamp !== undefined) await removeCopies(places.vendor, jsr, recipes);
    return "left to Deno";
  }
  await fill(places, recipes, network, { jsr, problem, stamp: wanted });
  return "filled";
}

interface Target {
  jsr: URL;
  /** Why JSR cannot be used. */
  problem: string;
  stamp: string;
}

async function fill(places: Places, recipes: Recipe[], network: Network, target: Target): Promise<void> {
  const host = hostFolder(target);
  const archives = await fetchAll(recipes, network, target.problem);
  const types = await readTypes(places.tools);
  // On the same file system as its destination, so that a rename moves it. Removes leftovers of a killed run first.
  const fresh = new URL(".fresh/", places.vendor);
  await removeFolder(fresh);
  // From here to the end, the folder is marked incomplete: neither up to date nor filled by Deno.
  await Deno.writeTextFile(new URL(STAMP, places.vendor), "incomplete");
  await Deno.mkdir(new URL(`${host}/@std/`, places.vendor), { recursive: true });
  for (const recipe of recipes) {
    const archive = archives.get(recipe.tarball) ?? new Map();
    const folder = new URL(`${recipe.name}/`, fresh);
    await writePackage(folder, recipe, pickFiles(recipe, archive, types));
    const destination = new URL(`${host}/@std/${recipe.name}/`, places.vendor);
    await removeFolder(destination);
    await Deno.rename(folder, destination);
  }
  await Deno.writeTextFile(new URL("stamp", fresh), target.stamp);
  await Deno.rename(new URL("stamp", fresh), new URL(STAMP, places.vendor));
  await removeFolder(fresh);
}

async function fetchAll(
  recipes: Recipe[],
  network: Network,
  problem: string,
): Promise<Map<Tarball, Map<string, Uint8Array>>> {
  const tarballs = [...new Set(recipes.map((recipe) => recipe.tarball))];
  try {
    return new Map(
      await Promise.all(tarballs.map(async (tarball): Promise<[Tarball, Map<string, Uint8Array>]> => [
        tarball,
        await readTarball(await network.fetchTarball(tarball)),
      ])),
    );
  } catch (cause) {
    const second = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `neither JSR nor an npm registry gives the @std packages (JSR: ${problem}; npm: ${second})`,
      { cause },
    );
  }
}

/** Deno keeps files from `https://HOST/` in the folder HOST. */
function hostFolder({ jsr, problem }: Target): string {
  if (jsr.protocol === "https:" && jsr.port === "" && jsr.pathname === "/") return jsr.hostname;
  throw new Error(`the JSR registry that JSR_URL names is needed, but does not answer (${problem})`);
}

async function readStamp(vendor: URL): Promise<string | undefined> {
  return await Deno.readTextFile(new URL(STAMP, vendor)).catch(ignoreMissing);
}

/** Whether Deno has fetched every package from JSR: then no request is needed. */
async function filledByDeno(vendor: URL, recipes: Recipe[]): Promise<boolean> {
  const hosts = (await Array.fromAsync(Deno.readDir(vendor))).filter((entry) => entry.isDirectory);
  for (const { name, version } of recipes) {
    const paths = hosts.map((host) => new URL(`${host.name}/@std/${name}/${version}_meta.json`, vendor));
    const found = await Promise.all(paths.map((path) => Deno.stat(path).catch(ignoreMissing)));
    if (!found.some((entry) => entry?.isFile)) return false;
  }
  return true;
}

/** Removes the copies, so that Deno fetches the originals. */
async function removeCopies(vendor: URL, jsr: URL, recipes: Recipe[]): Promise<void> {
  await Deno.remove(new URL(STAMP, vendor));
  for (const { name } of recipes) await removeFolder(new URL(`${jsr.hostname}/@std/${name}`, vendor));
}

async function removeFolder(folder: URL): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch(ignoreMissing);
}

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
