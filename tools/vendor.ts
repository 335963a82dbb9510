/**
 * Makes the `@std` packages loadable where JSR cannot be reached but an npm registry can.
 *
 * `deno.json` asks for them by their plain `jsr:` names and has `"vendor": true`, so Deno looks into the git-ignored
 * folder `vendor/` before it asks JSR. Where JSR answers, Deno fills that folder by itself and this tool does nothing.
 * Where it does not, the tool fills it with copies of the same packages that exist on npm.
 *
 * Every task runs this first; with nothing to do it reads a few small files and ends.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program, its messages are its output
import { ensureVendor } from "./vendor/fill.ts";
import { RECIPES } from "./vendor/recipes.ts";
import { fetchTarball, findJsr, jsrProblem } from "./vendor/registries.ts";

if (import.meta.main) {
  const tools = new URL("./", import.meta.url);
  const vendor = new URL("../vendor/", tools);
  try {
    const outcome = await ensureVendor({ vendor, tools }, RECIPES, { findJsr, jsrProblem, fetchTarball });
    if (outcome === "filled") {
      console.error("vendor: JSR does not answer, so vendor/ holds copies from npm now");
    }
  } catch (error) {
    console.error(`vendor: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
