/**
 * The behaviour tests with several workers: `LBPROXY_TEST_WORKERS=4`. A configuration that can be written to a file runs in
 * worker processes, as in the program; for others the workers run in the test process.
 */

import { createHash } from "node:crypto";
import { describeConfig } from "../../lib/config/describe_config.ts";
import type { ModuleTexts } from "../../lib/config/module_graph.ts";
import type { ProxyConfig, ResolvedConfig } from "../../lib/config/proxy_config.ts";
import { resolveConfig } from "../../lib/config/resolve_config.ts";
import { ListenError } from "../../lib/engine/engine.ts";
import type { Observer } from "../../lib/observe/observer.ts";
import { type ProxyServer, startProxy } from "../../lib/server/serve.ts";
import {
  completeOptions,
  type ProxyParts,
  type ServeOptions,
  type WorkersSetup,
} from "../../lib/server/serve_options.ts";
import { workerCommand } from "../../lib/server/workers/worker_command.ts";
import { MAIN } from "./program.ts";
import { workerInProcess } from "./worker_in_process.ts";

/** Number of workers in tests; 1 runs in the test process. */
export const TEST_WORKERS: number = Number(Deno.env.get("LBPROXY_TEST_WORKERS") ?? 1);

/** Number of proxies started with worker processes, and why workers of others run in the test process. */
export const STARTED: { processes: number; readonly inProcess: string[] } = { processes: 0, inProcess: [] };

/** Why all workers run in the test process, also those that could be processes; `null` if they need not. */
export const PLACE: { inProcess: string | null } = { inProcess: null };

/** A reload has a configuration that cannot be written to a file; `with_workers.ts` runs the test again, with workers in the test process. */
export class NeedsOneProcess extends Error {
  override readonly name = "NeedsOneProcess";
}

/** Why a configuration cannot be written to a file; `null` if it can. */
function whyInProcess(config: unknown, parents: readonly unknown[] = []): string | null {
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
  if (parents.includes(config)) return "the configuration has an object inside itself";
  if (!Array.isArray(config) && Object.getPrototypeOf(config) !== Object.prototype) {
    return `the configuration has an object of class ${config.constructor?.name}`;
  }
  for (const each of Object.values(config)) {
    const reason = whyInProcess(each, [...parents, config]);
    if (reason !== null) return reason;
  }
  return null;
}

/** Source of a function that only uses its parameters and globals; `null` if it uses other variables. */
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

/** Whether every name is a global, or declared in the source. */
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

/** Writes a configuration as a module. What is used twice is written once: policies that are one object count together. */
function moduleOf(config: unknown): string {
  const seen = new Set<unknown>();
  const twice = new Set<unknown>();
  const look = (value: unknown): void => {
    if ((typeof value !== "object" || value === null) && typeof value !== "function") return;
    if (seen.has(value)) return void twice.add(value);
    seen.add(value);
    if (!(value instanceof Uint8Array)) Object.values(value).forEach(look);
  };
  look(config);
  const names = new Map<unknown, string>();
  const lines: string[] = [];
  const write = (value: unknown): string => {
    if (!twice.has(value)) return textOf(value, write);
    let name = names.get(value);
    if (name === undefined) {
      const text = textOf(value, write);
      names.set(value, name = `value${names.size}`);
      lines.push(`const ${name} = ${text};`);
    }
    return name;
  };
  const text = write(config);
  return [...lines, `export default ${text};`].join("\n");
}

function textOf(value: unknown, write: (value: unknown) => string): string {
  if (typeof value === "function") return `(${sourceOf(value as () => void)})`;
  if (value instanceof Uint8Array) return `Uint8Array.of(${value.join()})`;
  if (Array.isArray(value)) return `[${value.map(write).join()}]`;
  if (typeof value !== "object" || value === null || value instanceof RegExp) {
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  }
  return `{${
    Object.entries(value).map(([name, each]) => `[${JSON.stringify(name)}]: ${write(each)}`).join()
  }}`;
}

/** Starts a proxy with workers; this process supervises them. */
export async function serveByWorkers(
  config: ProxyConfig,
  options: ServeOptions & { readonly observer: Observer },
): Promise<ProxyServer> {
  const { observer: _, ...own } = options;
  const [option] = Object.keys(own);
  const reason = PLACE.inProcess ??
    (option !== undefined ? `the test gives the proxy its own ${option}` : whyInProcess(config));
  if (reason === null) STARTED.processes++;
  else STARTED.inProcess.push(reason);
  for (let tries = 1;; tries++) {
    try {
      return await (reason === null ? serveByProcesses(config, options) : serveInProcess(config, options));
    } catch (error) {
      // Port 0 with workers is a port that was free a moment ago. Another test may use it now.
      if (!(error instanceof ListenError) || tries === MAX_TRIES) throw error;
    }
  }
}

/** How often a proxy is started before an address in use fails the test. */
const MAX_TRIES = 3;

function serveInProcess(config: ProxyConfig, options: ServeOptions): Promise<ProxyServer> {
  const parts = completeOptions(options);
  return start(config, parts, workersInProcess(parts));
}

async function serveByProcesses(config: ProxyConfig, options: ServeOptions): Promise<ProxyServer> {
  const folder = await Deno.makeTempDir();
  const remove = () => Deno.removeSync(folder, { recursive: true });
  try {
    const server = await start(
      config,
      completeOptions(options),
      workerProcesses(`${folder}/proxy.config.js`),
    );
    server.finished.then(remove);
    return server;
  } catch (error) {
    remove();
    throw error;
  }
}

/** How workers get a configuration. */
interface Way {
  readonly source: string;
  readonly command: WorkersSetup["command"];
  /** Returns the texts that workers load a configuration from. */
  publish(config: ProxyConfig): ModuleTexts;
}

/** Processes load a configuration from a file. */
function workerProcesses(source: string): Way {
  let published = false;
  const publish = (config: ProxyConfig): ModuleTexts => {
    const reason = whyInProcess(config);
    if (reason !== null) throw new NeedsOneProcess(reason);
    const text = moduleOf(config);
    if (!published) Deno.writeTextFileSync(source, text);
    published = true;
    return { [source]: text };
  };
  return { source, command: workerCommand(MAIN.href), publish };
}

/** Workers in the test process get the number of a configuration, in place of texts. */
function workersInProcess(parts: ProxyParts): Way {
  const configs: ProxyConfig[] = [];
  const configOf = ({ number }: ModuleTexts): ResolvedConfig => resolveConfig(configs[Number(number)]!);
  return {
    source: "the test",
    command: () => ({ spawn: () => workerInProcess(parts, configOf) }),
    publish: (config) => ({ number: String(configs.push(config) - 1) }),
  };
}

/** Starts the supervisor. */
async function start(first: ProxyConfig, parts: ProxyParts, way: Way): Promise<ProxyServer> {
  const candidate = (config: ProxyConfig) => {
    const resolved = { ...resolveConfig(config), workers: TEST_WORKERS };
    const hash = createHash("sha256").update(describeConfig(resolved)).digest("hex");
    return { config: resolved, hash, texts: way.publish(config), notReloaded: [] };
  };
  const wanted: (() => ReturnType<typeof candidate>)[] = [];
  const { config, hash, texts } = candidate(first);
  const { source: name, command } = way;
  const server = await startProxy(config, {
    ...parts,
    source: { name, hash, texts, load: () => Promise.resolve(wanted.shift()!()) },
    // deno-lint-ignore no-console
    workers: { command, options: { source: name, ...RUN_OPTIONS }, strayLine: (line) => console.error(line) },
  });
  const { reload } = server;
  server.reload = async (config, trigger) => {
    let unwritable: unknown = null;
    wanted.push(() => {
      if (config === undefined) {
        throw new Error("there is no file to read: call reload() with a configuration");
      }
      try {
        return candidate(config);
      } catch (error) {
        if (error instanceof NeedsOneProcess) unwritable = error;
        throw error;
      }
    });
    const outcome = await reload.call(server, undefined, trigger);
    if (unwritable !== null) throw unwritable;
    return outcome;
  };
  return server;
}

/** Options of the program. */
const RUN_OPTIONS = {
  check: false,
  watch: false,
  listen: [],
  engine: null,
  admin: null,
  workers: null,
  logLevel: "info",
  logFormat: "text",
};
