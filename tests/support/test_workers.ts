/** The behaviour suite with several workers: `LBPROXY_TEST_WORKERS=4`, for configurations that can be written to a file. */

import type { ProxyConfig } from "../../lib/config/proxy_config.ts";
import { resolveConfig } from "../../lib/config/resolve_config.ts";
import { systemClock as clock } from "../../lib/core/clock.ts";
import { systemRandom as random } from "../../lib/core/random.ts";
import type { Observer } from "../../lib/observe/observer.ts";
import { type ProxyServer, startProxy } from "../../lib/server/serve.ts";
import { workerCommand } from "../../lib/server/workers/worker_command.ts";
import { MAIN } from "./program.ts";

/** How many workers serve in tests; 1 is the test's own process. */
export const TEST_WORKERS: number = Number(Deno.env.get("LBPROXY_TEST_WORKERS") ?? 1);

/**
 * Whether workers can have this configuration: functions cannot be sent to other processes, and a socket of the file system
 * has one process that listens.
 */
export function canHaveWorkers(config: unknown, known: Set<unknown> = new Set()): boolean {
  if (typeof config === "function" || typeof config === "bigint" || typeof config === "symbol") return false;
  if (typeof config === "string") return !config.startsWith("unix:");
  if (typeof config !== "object" || config === null) return true;
  // What is the same object would be two.
  if (known.has(config)) return false;
  known.add(config);
  if (Array.isArray(config)) return config.every((each) => canHaveWorkers(each, known));
  if (Object.getPrototypeOf(config) !== Object.prototype || "unix" in config || "admin" in config) {
    return false;
  }
  return Object.values(config).every((each) => canHaveWorkers(each, known));
}

/** Starts a proxy with workers; this process looks after them. */
export async function serveByWorkers(config: ProxyConfig, observer: Observer): Promise<ProxyServer> {
  const folder = await Deno.makeTempDir();
  const source = `${folder}/proxy.config.ts`;
  const text = JSON.stringify(config, (_, value) => value === Infinity ? { $: "Infinity" } : value);
  await Deno.writeTextFile(
    source,
    `export default JSON.parse(${
      JSON.stringify(text)
    }, (_, value) => value?.$ === "Infinity" ? Infinity : value);`,
  );
  const options = {
    source,
    check: false,
    watch: false,
    listen: [],
    engine: null,
    admin: null,
    workers: null,
    logLevel: "info",
    logFormat: "text",
  };
  const workers = {
    command: workerCommand(MAIN.href),
    options,
    // deno-lint-ignore no-console
    strayLine: (line: string) => console.error(line),
  };
  try {
    const resolved = { ...resolveConfig(config), workers: TEST_WORKERS };
    return await startProxy(resolved, { observer, clock, random, workers });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
