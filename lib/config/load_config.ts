/** Loads a configuration from its file: the exports of the module, and relative paths in them. */

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

/** A configuration, and the unused exports of its module. */
interface LoadedConfig {
  readonly config: ResolvedConfig;
  /** Exports that are not used. */
  readonly unread: readonly string[];
  /** Parts that are valid and probably not intended. */
  readonly doubts: readonly ConfigProblem[];
  /** Sources of the modules; `null` unless a graph loaded them. */
  readonly sources: ModuleSources | null;
}

/** Formats of configurations of other programs, by file extension. */
const OTHER_FORMATS: Readonly<Record<string, string>> = {
  json: "JSON",
  jsonc: "JSON",
  json5: "JSON",
  yaml: "YAML",
  yml: "YAML",
  toml: "TOML",
};

/**
 * Loads a configuration module, validates its exports, and fills in the defaults.
 *
 * @param source path of the file, relative to the working directory; or a URL (`file:`, `https:`, `jsr:`, ...)
 * @param graph loads the module and its imports again; without it the runtime loads them once
 * @param files receives the files found by the graph, also if the configuration cannot be used
 * @param findMore finds more problems in the valid part of an invalid configuration, so that all are reported at once
 * @param texts for the graph: texts of modules that replace those in their files
 * @throws {ConfigError} when the module cannot be read or loaded, or the configuration is invalid
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
  // Some YAML files are valid programs that do nothing.
  const format = explainFormat(where);
  if (format !== undefined) throw new ConfigError(where, [{ path: "", message: format }]);
  const { config, problems, unread } = pickExports(module);
  if (problems.length > 0) {
    const more = findMore === null || !isRecord(config) ? [] : findMore(validPart(config, url));
    throw new ConfigError(where, [...problems, ...more]);
  }
  const doubts = findConfigDoubts(config);
  return { config: completeConfig(withAbsolutePaths(config as ProxyConfig, url)), unread, doubts, sources };
}

/** Options with paths of files. */
const WITH_FILES = ["listen", "upstreams", "limiter", "admin"];

/** A configuration of the valid options among those with paths. */
function validPart(config: Readonly<Record<string, unknown>>, url: string): ResolvedConfig {
  const least = { upstreams: ["127.0.0.1:1"] };
  const good = WITH_FILES.filter((key) =>
    config[key] !== undefined && findConfigProblems({ ...least, [key]: config[key] }).length === 0
  );
  const part = { ...least, ...Object.fromEntries(good.map((key) => [key, config[key]])) };
  return completeConfig(withAbsolutePaths(part as ProxyConfig, url));
}

/** Makes paths relative to the folder of the file; unchanged if that is the working directory. */
function withAbsolutePaths(config: ProxyConfig, url: string): ProxyConfig {
  if (!url.startsWith("file:")) return config;
  const folder = dirname(fileURLToPath(url));
  return folder === Deno.cwd()
    ? config
    : anchorPaths(config as unknown as Record<string, unknown>, folder) as unknown as ProxyConfig;
}

/** Describes the format of a file that is not a module, by its name. */
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

/** A single letter is a drive, not a scheme. */
function toModuleUrl(source: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.test(source) ? source : pathToFileURL(source).href;
}

/**
 * Makes relative paths absolute: certificates, keys and authorities of listeners, the access log, tokens.
 *
 * PEM texts and functions are kept, and the argument is not changed.
 *
 * @param config a valid configuration
 * @param folder folder of its file
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

/** Changes one member of an object; returns other values, and an object without the member, unchanged. */
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

/** A configuration before its defaults are filled in, and its problems. */
interface PickedConfig {
  readonly config: unknown;
  readonly problems: readonly ConfigProblem[];
  /** Exports that are not used. */
  readonly unread: readonly string[];
}

type Module = Readonly<Record<string, unknown>>;

/** Names of exports that are probably a whole configuration. */
const WHOLE = ["config", "configuration", "proxyConfig"];

/** Uses the default export as configuration, or the named exports if there is none. */
function pickExports(module: Module): PickedConfig {
  return Object.hasOwn(module, "default") ? pickDefault(module) : pickNamed(module);
}

function pickDefault({ default: config, ...others }: Module): PickedConfig {
  // An additional named export of the same object is harmless.
  const names = Object.keys(others).filter((name) => others[name] !== config);
  const present = new Set([...names, ...(isRecord(config) ? Object.keys(config) : [])]);
  const strays = names.filter((name) =>
    CONFIG_KEYS.includes(name) || isIntended(name, others[name], present)
  );
  const problems = config instanceof Promise
    ? [promiseProblem(config)]
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

function promiseProblem(promise: Promise<unknown>): ConfigProblem {
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
  const meant = others.filter((name) => !whole.includes(name) && isIntended(name, module[name], present));
  return {
    config,
    problems: [
      // Keys that seem missing are in the whole configuration under the wrong name.
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

/** Whether an export is a whole configuration. */
function isWhole(name: string, module: Module): boolean {
  const value = module[name];
  if (isRecord(value) && Object.hasOwn(value, "upstreams")) return true;
  return WHOLE.includes(name) && isRecord(value);
}

/**
 * Whether an export was probably intended as configuration: similar to a missing key, named like a phase, or known as a
 * name elsewhere.
 *
 * A limit that is not applied because of a typing error is worse than a helper that has to be renamed.
 *
 * @param present names of existing exports and keys
 */
function isIntended(name: string, value: unknown, present: ReadonlySet<string>): boolean {
  if (typeof value === "function" && name.endsWith("Filter")) return true;
  const nearest = nearestName(name, CONFIG_KEYS);
  if (nearest !== undefined && !present.has(nearest)) return true;
  const misplaced = findMisplaced(name);
  // A name in capitals is a constant that other values use.
  if (misplaced === undefined || name === name.toUpperCase()) return false;
  // An export `window` next to `limiter` is probably a part of the limit; `timeouts` next to `upstreams` is a misplaced
  // option.
  const { owners } = misplaced;
  const isPart = owners.length > 0 && owners.every((key) => WITH_COMMON_NAMES.includes(key));
  return !(isPart && owners.some((key) => present.has(key)));
}

/** Keys whose options have common names. */
const WITH_COMMON_NAMES = ["limiter", "routes"];

function placeOf(name: string): string {
  const misplaced = CONFIG_KEYS.includes(name) ? undefined : findMisplaced(name);
  return misplaced === undefined ? "" : `; ${misplaced.place}`;
}
