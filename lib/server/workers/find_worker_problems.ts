/** What a configuration cannot have together with several workers. */

import { ConfigError, type ConfigProblem } from "../../config/config_error.ts";
import type { ResolvedConfig } from "../../config/proxy_config.ts";

/** Lists what several workers cannot do; empty when there is one. */
export function findWorkerProblems({ workers, listen, rollback }: ResolvedConfig): readonly ConfigProblem[] {
  if (workers === 1) return [];
  const problems: ConfigProblem[] = [];
  listen.forEach(({ unix }, index) => {
    if (unix === undefined) return;
    const message =
      `must not be a socket of the file system with ${workers} workers: only one process can listen there`;
    problems.push({ path: listen.length === 1 ? "listen" : `listen[${index}]`, message });
  });
  if (rollback !== null) {
    const message =
      `must not be set with ${workers} workers, which load modules that are gone after a reload`;
    problems.push({ path: "rollback", message });
  }
  return problems;
}

/**
 * Sees to it that a configuration that a program hands over wants no workers.
 *
 * @throws {ConfigError} when it does
 */
export function alone(config: ResolvedConfig): ResolvedConfig {
  if (config.workers === 1) return config;
  const message = "must be 1 here: workers load a configuration from its module, so run the program, as in " +
    `lbproxy proxy.config.ts --workers ${config.workers}`;
  throw new ConfigError("configuration", [{ path: "workers", message }]);
}
