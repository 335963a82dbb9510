/** Reads a configuration from its file. */

import { dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { anchorPaths } from "./anchor_paths.ts";
import { ConfigError } from "./config_error.ts";
import { explainLoadError } from "./explain_load_error.ts";
import type { ModuleGraph, ModuleSources } from "./module_graph.ts";
import { pickExports } from "./pick_exports.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import { completeConfig } from "./resolve_config.ts";

/** A configuration, and what its module says beside it. */
interface LoadedConfig {
  readonly config: ResolvedConfig;
  /** Exports that nothing reads. */
  readonly unread: readonly string[];
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
 * @throws {ConfigError} when it cannot be read or loaded, or anything is wrong with it
 */
export async function loadConfig(
  source: string | URL,
  graph: ModuleGraph | null = null,
  files: Set<string> = new Set(),
): Promise<LoadedConfig> {
  const where = String(source);
  let url: string | undefined;
  let module: Record<string, unknown>;
  let sources: ModuleSources | null = null;
  try {
    url = toModuleUrl(where);
    if (graph === null) module = await import(url);
    else ({ module, sources } = await graph.load(url, files));
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
  if (problems.length > 0) throw new ConfigError(where, problems);
  return { config: completeConfig(anchored(config as ProxyConfig, url)), unread, sources };
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
