/** Finds the configuration among what a module exports. */

import { dropPromise } from "../core/callback.ts";
import type { ConfigProblem } from "./config_error.ts";
import { findProblems } from "./find_problems.ts";
import { nearestName } from "./nearest_name.ts";
import { CONFIG_KEYS, unknownConfigKey } from "./schema/config_schema.ts";
import { findMisplaced } from "./schema/misplaced_key.ts";
import { isRecord } from "./schema/options_object.ts";

/** A configuration that nobody has completed yet, and what is wrong with it. */
interface PickedConfig {
  readonly config: unknown;
  readonly problems: readonly ConfigProblem[];
  /** Exports that nothing reads. */
  readonly unread: readonly string[];
}

type Module = Readonly<Record<string, unknown>>;

/** Names of exports that are meant to be a whole configuration. */
const WHOLE = ["config", "configuration", "proxyConfig"];

/** Takes the default export, or where there is none the named exports, as the configuration. */
export function pickExports(module: Module): PickedConfig {
  return Object.hasOwn(module, "default") ? pickDefault(module) : pickNamed(module);
}

function pickDefault({ default: config, ...others }: Module): PickedConfig {
  // The same object by its name as well does no harm.
  const names = Object.keys(others).filter((name) => others[name] !== config);
  const present = new Set([...names, ...(isRecord(config) ? Object.keys(config) : [])]);
  const strays = names.filter((name) => CONFIG_KEYS.includes(name) || isMeant(name, others[name], present));
  const problems = config instanceof Promise
    ? [promised(config)]
    : findProblems(config, "the default export");
  return {
    config,
    problems: [
      ...problems,
      ...strays.map((path) => ({
        path,
        message: `is exported beside the default export, which nothing reads${placeOf(path)}`,
      })),
    ],
    unread: names.filter((name) => !strays.includes(name)),
  };
}

function promised(promise: Promise<unknown>): ConfigProblem {
  dropPromise(promise);
  return { path: "", message: 'the default export is a promise; write "export default await ..."' };
}

function pickNamed(module: Module): PickedConfig {
  const names = Object.keys(module);
  const known = names.filter((name) => CONFIG_KEYS.includes(name));
  const config = Object.fromEntries(known.map((name) => [name, module[name]]));
  const others = names.filter((name) => !known.includes(name));
  const whole = known.includes("upstreams") ? [] : others.filter((name) => isWhole(name, module));
  const present = new Set(names);
  const meant = others.filter((name) => !whole.includes(name) && isMeant(name, module[name], present));
  return {
    config,
    problems: [
      // What is missing is missing because it stands in there.
      ...(whole.length > 0 ? [] : findProblems(config)),
      ...whole.map((path) => ({
        path,
        message: 'is a configuration by a name that nothing reads; write "export default" in place of it',
      })),
      ...meant.map((path) => ({ path, message: unknownConfigKey(path) })),
    ],
    unread: others.filter((name) => !whole.includes(name) && !meant.includes(name)),
  };
}

/** Whether an export is all of a configuration. */
function isWhole(name: string, module: Module): boolean {
  const value = module[name];
  if (isRecord(value) && Object.hasOwn(value, "upstreams")) return true;
  return WHOLE.includes(name) && isRecord(value);
}

/**
 * Whether an export was meant to be configuration: close to a key that is missing, named like a phase, or known
 * elsewhere.
 *
 * A limit that is not applied because of a typing error is worse than a helper that has to be renamed.
 *
 * @param present names of exports and keys that are there
 */
function isMeant(name: string, value: unknown, present: ReadonlySet<string>): boolean {
  if (typeof value === "function" && name.endsWith("Filter")) return true;
  const nearest = nearestName(name, CONFIG_KEYS);
  if (nearest !== undefined && !present.has(nearest)) return true;
  const misplaced = findMisplaced(name);
  // What is in capitals is a constant, of which something else is made.
  if (misplaced === undefined || name === name.toUpperCase()) return false;
  // Beside a limit `window` is a part of it that has a name of its own; `timeouts` was forgotten beside the servers.
  const { owners } = misplaced;
  const isPart = owners.length > 0 && owners.every((key) => PARTED.includes(key));
  return !(isPart && owners.some((key) => present.has(key)));
}

/** Keys whose options have names that many things have. */
const PARTED = ["limiter", "routes"];

function placeOf(name: string): string {
  const misplaced = CONFIG_KEYS.includes(name) ? undefined : findMisplaced(name);
  return misplaced === undefined ? "" : `; ${misplaced.place}`;
}
