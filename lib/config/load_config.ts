/** Reads a configuration from its file: what the module exports, and paths of files in it. */

import { isRecord } from "../core/options.ts";
import { dropPromise } from "../core/callback.ts";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ConfigError, type ConfigProblem, explainLoadError } from "./config_error.ts";
import { CONFIG_KEYS, findMisplaced, unknownConfigKey } from "./config_schema.ts";
import type { ModuleGraph, ModuleSources, ModuleTexts } from "./module_graph.ts";
import { nearestName } from "../core/describe_value.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import { completeConfig, findConfigDoubts, findConfigProblems } from "./resolve_config.ts";

/** A configuration, and the other exports of its module. */
interface LoadedConfig {
  readonly config: ResolvedConfig;
  /** Exports that nothing reads. */
  readonly unread: readonly string[];
  /** What is allowed and probably not meant. */
  readonly doubts: readonly ConfigProblem[];
  /** Where it is from; `null` unless it was loaded by a graph. */
  readonly sources: ModuleSources | null;
}

/** What people write configurations in elsewhere, by the end of the name. */
const OTHER_FORMATS: Readonly<Record<string, string>> = {
  json: "JSON",
  jsonc: "JSON",
  json5: "JSON",
  yaml: "YAML",
  yml: "YAML",
  toml: "TOML",
};

/**
 * Loads a configuration module, checks what it exports, and completes it.
 *
 * @param source path of the file, relative ones from the working directory; or a URL (`file:`, `https:`, `jsr:`, ...)
 * @param graph loads it, and what it imports, anew; without it the runtime loads it once
 * @param files set to the files that were found by the graph, also when the configuration cannot be used
 * @param findMore looks for more mistakes in what is good of a configuration that has some, so that all are told at once
 * @param texts for the graph: modules in place of what stands in their files
 * @throws {ConfigError} when it cannot be read or loaded, or anything is wrong with it
 */
export async function loadConfig(
  source: string | URL,
  graph: ModuleGraph | null = null,
  files: Set<string> = new Set(),
  findMore: ((config: ResolvedConfig) => readonly ConfigProblem[]) | null = null,
  texts: ModuleTexts = {},
): Promise<LoadedConfig> {
  const where = String(source);
  let url: string | undefined;
  let module: Record<string, unknown>;
  let sources: ModuleSources | null = null;
  try {
    url = toModuleUrl(where);
    if (graph === null) module = await import(url);
    else ({ module, sources } = await graph.load(url, files, texts));
  } catch (cause) {
    const isThere = !/^Module not found/.test((cause as Error)?.message);
    const message = (isThere ? explainFormat(where) : undefined) ?? explainLoadError(cause, url);
    const problem = { path: "", message };
    throw new ConfigError(where, [problem], { cause });
  }
  // Some YAML is a program that does nothing.
  const format = explainFormat(where);
  if (format !== undefined) throw new ConfigError(where, [{ path: "", message: format }]);
  const { config, problems, unread } = pickExports(module);
  if (problems.length > 0) {
    const more = findMore === null || !isRecord(config) ? [] : findMore(goodPart(config, url));
    throw new ConfigError(where, [...problems, ...more]);
  }
  const doubts = findConfigDoubts(config);
  return { config: completeConfig(anchored(config as ProxyConfig, url)), unread, doubts, sources };
}

/** Options that name files. */
const WITH_FILES = ["listen", "upstreams", "limiter", "admin"];

/** A configuration of those options with files in which nothing is wrong. */
function goodPart(config: Readonly<Record<string, unknown>>, url: string): ResolvedConfig {
  const least = { upstreams: ["127.0.0.1:1"] };
  const good = WITH_FILES.filter((key) =>
    config[key] !== undefined && findConfigProblems({ ...least, [key]: config[key] }).length === 0
  );
  const part = { ...least, ...Object.fromEntries(good.map((key) => [key, config[key]])) };
  return completeConfig(anchored(part as ProxyConfig, url));
}

/** Has paths count from the folder of the file; where that is the working directory they stay as they are written. */
function anchored(config: ProxyConfig, url: string): ProxyConfig {
  if (!url.startsWith("file:")) return config;
  const folder = dirname(fileURLToPath(url));
  return folder === Deno.cwd()
    ? config
    : anchorPaths(config as unknown as Record<string, unknown>, folder) as unknown as ProxyConfig;
}

/** Says of a file that is no module what it is instead, by its name. */
function explainFormat(source: string): string | undefined {
  const name = source.replace(/[?#].*$/, "");
  const format = OTHER_FORMATS[name.slice(name.lastIndexOf(".") + 1).toLowerCase()];
  if (format === undefined) return undefined;
  const path = /^(?:[./]|\w+:)/.test(source) ? source : `./${source}`;
  const way = format === "JSON"
    ? `, which can read it: import config from "${path}" with { type: "json" }; export default config`
    : "";
  return `it is ${format}, and a configuration is a module of TypeScript or JavaScript such as proxy.config.ts${way}`;
}

/** One letter is a drive, not a scheme. */
function toModuleUrl(source: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.test(source) ? source : pathToFileURL(source).href;
}

/**
 * Makes relative paths of files absolute: certificates, keys and authorities of listeners, the access log, tokens.
 *
 * PEM texts, functions and the configuration itself are left as they are.
 *
 * @param config a configuration without problems
 * @param folder of its file
 */
export function anchorPaths(config: Record<string, unknown>, folder: string): Record<string, unknown> {
  const anchor = (value: unknown): unknown =>
    typeof value !== "string" || value.includes("-----BEGIN") || isAbsolute(value)
      ? value
      : join(folder, value);
  const { listen, accessLog, admin } = config;
  return {
    ...config,
    ...(listen === undefined ? {} : { listen: each(listen, (place) => anchorListen(place, anchor)) }),
    ...(accessLog === undefined
      ? {}
      : { accessLog: within(accessLog, "to", (to) => within(to, "file", anchor)) }),
    ...(admin === undefined ? {} : {
      admin: within(
        within(admin, "tokens", (tokens) => ofAll(tokens, (token) => within(token, "file", anchor))),
        "tls",
        (tls) => pairOf(tls, anchor),
      ),
    }),
  };
}

type Change = (value: unknown) => unknown;

function anchorListen(place: unknown, anchor: Change): unknown {
  const pair = (value: unknown) => pairOf(value, anchor);
  return within(place, "tls", (tls) => {
    const named = within(pair(tls), "certificates", (all) => Array.isArray(all) ? all.map(pair) : all);
    return within(named, "clientCertificates", (clients) => within(clients, "ca", (ca) => each(ca, anchor)));
  });
}

function pairOf(value: unknown, anchor: Change): unknown {
  return within(within(value, "cert", anchor), "key", anchor);
}

/** Changes one member of an object; anything else, and an object without it, is left as it is. */
function within(value: unknown, key: string, change: Change): unknown {
  return isRecord(value) && value[key] !== undefined ? { ...value, [key]: change(value[key]) } : value;
}

function each(value: unknown, change: Change): unknown {
  return Array.isArray(value) ? value.map(change) : change(value);
}

function ofAll(value: unknown, change: Change): unknown {
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, change(member)]));
}

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
function pickExports(module: Module): PickedConfig {
  return Object.hasOwn(module, "default") ? pickDefault(module) : pickNamed(module);
}

function pickDefault({ default: config, ...others }: Module): PickedConfig {
  // The same object by its name as well does no harm.
  const names = Object.keys(others).filter((name) => others[name] !== config);
  const present = new Set([...names, ...(isRecord(config) ? Object.keys(config) : [])]);
  const strays = names.filter((name) => CONFIG_KEYS.includes(name) || isMeant(name, others[name], present));
  const problems = config instanceof Promise
    ? [promised(config)]
    : findConfigProblems(config, "the default export");
  return {
    config,
    problems: [
      ...problems,
      ...strays.map((path) => ({
        path,
        message: `is exported in addition to the default export, and is not read${placeOf(path)}`,
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
      ...(whole.length > 0 ? [] : findConfigProblems(config)),
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
