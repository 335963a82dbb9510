/** Reads a configuration from its file. */

import { pathToFileURL } from "node:url";
import { ConfigError } from "./config_error.ts";
import { explainLoadError } from "./explain_load_error.ts";
import { pickExports } from "./pick_exports.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import { completeConfig } from "./resolve_config.ts";

/**
 * Loads a configuration module, checks what it exports, and completes it.
 *
 * @param source path of the file, relative ones from the working directory; or a URL (`file:`, `https:`, `jsr:`, ...)
 * @throws {ConfigError} when it cannot be read or loaded, or anything is wrong with it
 */
export async function loadConfig(source: string | URL): Promise<ResolvedConfig> {
  const where = String(source);
  let url: string | undefined;
  let module: Record<string, unknown>;
  try {
    url = toModuleUrl(where);
    module = await import(url);
  } catch (cause) {
    const problem = { path: "", message: explainLoadError(cause, url) };
    throw new ConfigError(where, [problem], { cause });
  }
  const { config, problems } = pickExports(module);
  if (problems.length > 0) throw new ConfigError(where, problems);
  return completeConfig(config as ProxyConfig);
}

/** One letter is a drive, not a scheme. */
function toModuleUrl(source: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.test(source) ? source : pathToFileURL(source).href;
}
