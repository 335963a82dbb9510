/** Finds the configuration among what a module exports. */

import type { ConfigProblem } from "./config_error.ts";
import { findProblems } from "./find_problems.ts";
import { nearestName } from "./nearest_name.ts";
import { unknownKeyMessage } from "./schema/options_object.ts";
import { CONFIG_KEYS } from "./schema/config_schema.ts";

/** A configuration that nobody has completed yet, and what is wrong with it. */
export interface PickedConfig {
  readonly config: unknown;
  readonly problems: readonly ConfigProblem[];
}

/** Takes the default export, or where there is none the named exports, as the configuration. */
export function pickExports(module: Readonly<Record<string, unknown>>): PickedConfig {
  const names = Object.keys(module);
  if (!names.includes("default")) return pickNamed(module, names);
  const strays = names.filter((name) => CONFIG_KEYS.includes(name) || looksMisspelt(name, module));
  return {
    config: module.default,
    problems: [
      ...findProblems(module.default, "the default export"),
      ...strays.map((path) => ({
        path,
        message: "is exported beside the default export, which nothing reads",
      })),
    ],
  };
}

function pickNamed(module: Readonly<Record<string, unknown>>, names: readonly string[]): PickedConfig {
  const known = names.filter((name) => CONFIG_KEYS.includes(name));
  const config = Object.fromEntries(known.map((name) => [name, module[name]]));
  const misspelt = names.filter((name) => !known.includes(name) && looksMisspelt(name, module));
  return {
    config,
    problems: [
      ...findProblems(config),
      ...misspelt.map((path) => ({ path, message: unknownKeyMessage(path, CONFIG_KEYS) })),
    ],
  };
}

/**
 * Whether an export was meant to be configuration: close to a key that is missing, or named like a phase.
 *
 * A limit that is not applied because of a typing error is worse than a helper that has to be renamed.
 */
function looksMisspelt(name: string, module: Readonly<Record<string, unknown>>): boolean {
  if (typeof module[name] === "function" && name.endsWith("Filter")) return true;
  const nearest = nearestName(name, CONFIG_KEYS);
  return nearest !== undefined && !Object.hasOwn(module, nearest);
}
