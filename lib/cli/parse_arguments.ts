/** Reads the command line. */

import { parseArgs } from "@std/cli/parse-args";
import { nearestName } from "../core/describe_value.ts";
import { type AdminPlace, parseAdminListen } from "../config/admin_options.ts";
import { ENGINE_NAMES, type EngineName, parseListen, type ResolvedListen } from "../config/listen_options.ts";
import { resolveWorkers } from "../config/resolve_config.ts";
import { isWorkers, WORKERS_EXPECTED } from "../config/process_options.ts";
import {
  type CtlCommand,
  parseCtlArguments,
  parseTopArguments,
  type TopCommand,
} from "./parse_admin_arguments.ts";
import { parseSimulateArguments, type SimulateCommand } from "./parse_simulate_arguments.ts";
import { refuseOption, UsageError } from "./io.ts";
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from "../observe/events.ts";

/** What the command line asks for. */
type Command =
  | { readonly kind: "help"; readonly of?: "ctl" | "top" | "simulate" }
  | { readonly kind: "version" }
  | { readonly kind: "init"; readonly folder: string }
  | { readonly kind: "simulate"; readonly command: SimulateCommand }
  | { readonly kind: "ctl"; readonly command: CtlCommand }
  | { readonly kind: "top"; readonly command: TopCommand }
  | { readonly kind: "run"; readonly options: RunOptions };

/** What the proxy is run with. */
export interface RunOptions {
  /** Path or URL of the configuration. */
  readonly source: string;
  /** Only show what the configuration means. */
  readonly check: boolean;
  /** Check its types as well. */
  readonly types: boolean;
  /** Whether it is read again when its files change. */
  readonly watch: boolean;
  /** Where to listen in place of what the configuration says; empty when it counts. */
  readonly listen: readonly ResolvedListen[];
  /** Who talks to clients in place of what the configuration says; `null` when it counts. */
  readonly engine: EngineName | null;
  /** Where it is watched and steered in place of what the configuration says; `null` when that counts. */
  readonly admin: AdminPlace | null;
  /** How many workers serve in place of what the configuration says; `null` when it counts. */
  readonly workers: number | null;
  /** Whether it asks itself, so that there is something to see. */
  readonly demoLoad: boolean;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

const DEFAULT_SOURCE = "proxy.config.ts";
const FLAGS = [
  "demo-load",
  "check",
  "types",
  "watch",
  "init",
  "help",
  "version",
] as const;
const VALUES = ["listen", "engine", "admin", "workers", "log-level", "log-format"] as const;

/**
 * Reads the command line.
 *
 * @throws {UsageError} when it cannot be understood
 */
export function parseArguments(args: readonly string[]): Command {
  const [first] = args;
  if (first === "ctl" || first === "top" || first === "simulate") {
    if (args.includes("--help") || args.includes("-h")) return { kind: "help", of: first };
  }
  if (first === "simulate") {
    return { kind: "simulate", command: parseSimulateArguments(args.slice(1)) };
  }
  if (first === "ctl") {
    return { kind: "ctl", command: parseCtlArguments(args.slice(1)) };
  }
  if (first === "top") {
    return { kind: "top", command: parseTopArguments(args.slice(1)) };
  }
  const parsed = parseArgs(joinAdmin(args), {
    boolean: FLAGS,
    string: VALUES,
    collect: ["listen"],
    alias: { help: "h", version: "V" },
    unknown: refuseOption([...FLAGS, ...VALUES]),
  });
  if (parsed.help) return { kind: "help" };
  if (parsed.version) return { kind: "version" };
  const [source = parsed.init ? "." : DEFAULT_SOURCE, another] = parsed._.map(String);
  if (parsed.init && another === undefined) return { kind: "init", folder: source };
  if (another !== undefined) {
    throw new UsageError(`Only one configuration can be run, received "${source}" and "${another}"`);
  }
  if (parsed.types && !parsed.check) throw new UsageError("--types goes with --check");
  return {
    kind: "run",
    options: {
      source,
      check: parsed.check,
      types: parsed.types,
      watch: parsed.watch,
      demoLoad: parsed["demo-load"],
      listen: parsed.listen.map(readListen),
      engine: parsed.engine === undefined ? null : readChoice("engine", parsed.engine, ENGINE_NAMES, "auto"),
      admin: parsed.admin === undefined ? null : readAdmin(parsed.admin),
      workers: parsed.workers === undefined ? null : readWorkers(parsed.workers),
      logLevel: readChoice("log-level", parsed["log-level"], LOG_LEVELS, "info"),
      logFormat: readChoice("log-format", parsed["log-format"], LOG_FORMATS, "text"),
    },
  };
}

/** `--admin` may stand alone: what follows belongs to it only when it is an address. */
function joinAdmin(args: readonly string[]): string[] {
  const joined = [...args];
  const at = joined.indexOf("--admin");
  const end = joined.indexOf("--");
  if (at < 0 || (end >= 0 && end < at)) return joined;
  const next = joined[at + 1];
  const isAddress = next !== undefined &&
    parseAdminListen(/^\d+$/.test(next) ? Number(next) : next) !== undefined;
  joined.splice(at, isAddress ? 2 : 1, `--admin=${isAddress ? next : ""}`);
  return joined;
}

function readAdmin(text: string): AdminPlace {
  const place = text === "" ? parseAdminListen() : parseAdminListen(/^\d+$/.test(text) ? Number(text) : text);
  if (place !== undefined) return place;
  throw new UsageError(
    `--admin must be "host:port", "unix:/path", a port number or nothing, received "${text}"`,
  );
}

function readWorkers(text: string): number {
  const workers = /^\d+$/.test(text) ? Number(text) : text;
  if (isWorkers(workers)) return resolveWorkers(workers);
  throw new UsageError(`--workers must be ${WORKERS_EXPECTED}, received "${text}"`);
}

function readListen(text: string): ResolvedListen {
  const place = parseListen(/^\d+$/.test(text) ? Number(text) : text);
  if (place !== undefined) return place;
  throw new UsageError(`--listen must be "host:port", "unix:/path" or a port number, received "${text}"`);
}

function readChoice<Choice extends string>(
  name: string,
  text: string | undefined,
  choices: readonly Choice[],
  otherwise: Choice,
): Choice {
  if (text === undefined) return otherwise;
  const choice = choices.find((each) => each === text);
  if (choice !== undefined) return choice;
  const nearest = nearestName(text, choices);
  const hint = nearest === undefined ? "" : `, did you mean "${nearest}"?`;
  throw new UsageError(`--${name} must be one of ${choices.join(", ")}, received "${text}"${hint}`);
}
