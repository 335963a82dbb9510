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

/** A test cannot be run with workers; `with_workers.ts` counts it as skipped. */
export class NotByWorkers extends Error {
  override readonly name = "NotByWorkers";
  /** How many proxies have been started with workers. */
  static started = 0;
}

/** Why a configuration cannot be written to a file; `null` when it can. */
export function whyInProcess(
  config: unknown,
  options: object = {},
  known: Set<unknown> = new Set(),
): string | null {
  if (Object.keys(options).length > 0) return `the test gives the proxy its own ${Object.keys(options)[0]}`;
  switch (typeof config) {
    case "function":
      return sourceOf(config as () => void) === null
        ? "a function of the configuration shares variables with the test"
        : null;
    case "bigint":
    case "symbol":
      return `a ${typeof config} in the configuration`;
    case "object":
      break;
    default:
      return null;
  }
  if (config === null || config instanceof Uint8Array || config instanceof RegExp) return null;
  if (known.has(config)) return "the configuration has one object twice";
  known.add(config);
  if (!Array.isArray(config) && Object.getPrototypeOf(config) !== Object.prototype) {
    return `the configuration has an object of class ${config.constructor?.name}`;
  }
  for (const each of Object.values(config)) {
    const reason = whyInProcess(each, {}, known);
    if (reason !== null) return reason;
  }
  return null;
}

/** Source of a function that uses nothing but what it gets, and globals; `null` when it needs more. */
function sourceOf(fn: () => void): string | null {
  const text = fn.toString();
  const forms = [text, text.replace(/^async /, "async function "), `function ${text}`];
  for (const form of forms) {
    try {
      new Function(`return (${form});`);
    } catch {
      continue;
    }
    return isClosed(form) ? form : null;
  }
  return null;
}

const WORDS = new Set(
  ("async await break case catch class const continue default do else false finally for function if in instanceof let new " +
    "null of return super switch this throw true try typeof undefined void while yield").split(" "),
);

/** Whether every name is a global, or declared inside. */
function isClosed(source: string): boolean {
  const bare = source
    .replace(/\/\/[^\n]*|\/\*[\s\S]*?\*\//g, " ")
    .replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""')
    .replace(/\/(?![/*])(?:[^/\\\n[]|\\.|\[[^\]]*\])+\/[a-z]*(?=[.,;)\s])/g, '""');
  const declared = new Set<string>();
  for (
    const [, names] of bare.matchAll(/\b(?:const|let|var|function|catch)\s*\(?\s*([\w$]+|[{[][^}\]]*[}\]])/g)
  ) {
    for (const [name] of names!.matchAll(/[\w$]+/g)) declared.add(name);
  }
  for (const [, names] of bare.matchAll(/(?:\(([^()]*)\)|\b([\w$]+))\s*(?:=>|\{)/g)) {
    for (const [name] of (names ?? "").matchAll(/[\w$]+/g)) declared.add(name);
  }
  for (const [, name] of bare.matchAll(/\b([\w$]+)\s*=>/g)) declared.add(name!);
  for (const { 0: name, index } of bare.matchAll(/[A-Za-z_$][\w$]*/g)) {
    const before = bare.slice(0, index).trimEnd();
    if (/(?<!\.\.)\.$|[\d]$/.test(before) && !before.endsWith("...")) continue;
    if (/^\s*:/.test(bare.slice(index + name.length)) && /[{,]$/.test(before)) continue;
    if (WORDS.has(name) || declared.has(name) || name in globalThis) continue;
    return false;
  }
  return true;
}

/** Writes a configuration as a module. */
function moduleOf(value: unknown): string {
  if (typeof value === "function") return `(${sourceOf(value as () => void)})`;
  if (value instanceof Uint8Array) return `Uint8Array.of(${value.join()})`;
  if (Array.isArray(value)) return `[${value.map(moduleOf).join()}]`;
  if (typeof value !== "object" || value === null || value instanceof RegExp) {
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  }
  return `{${
    Object.entries(value).map(([name, each]) => `[${JSON.stringify(name)}]: ${moduleOf(each)}`).join()
  }}`;
}

/** Starts a proxy with workers; this process looks after them. */
export async function serveByWorkers(config: ProxyConfig, observer: Observer): Promise<ProxyServer> {
  NotByWorkers.started++;
  const folder = await Deno.makeTempDir();
  const source = `${folder}/proxy.config.js`;
  await Deno.writeTextFile(source, `export default ${moduleOf(config)};`);
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
