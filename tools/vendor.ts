/**
 * Makes the `@std` packages available where an npm registry can be reached, but JSR cannot.
 *
 * `deno.json` imports them by their `jsr:` names and has `"vendor": true`, so Deno searches the git-ignored folder `vendor/`
 * before JSR. If JSR responds, Deno fills that folder and this tool does nothing. Otherwise the tool fills it with copies of
 * the same packages from npm.
 *
 * Every task runs this first. If nothing is to be done, it reads a few small files and ends.
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
