/** Parses the command line. */

import { parseArgs } from "@std/cli/parse-args";
import { type AdminPlace, parseAdminListen } from "../config/admin_options.ts";
import { ENGINE_NAMES, type EngineName, parseListen, type ResolvedListen } from "../config/listen_options.ts";
import { isWorkers, WORKERS_EXPECTED } from "../config/process_options.ts";
import { resolveWorkers } from "../config/resolve_config.ts";
import { nearestName } from "../core/describe_value.ts";
import { parseDuration } from "../core/units.ts";
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from "../observe/events.ts";
import { refuseOption, UsageError } from "./io.ts";
import {
  CTL_COMMANDS,
  type CtlCommand,
  parseCtlArguments,
  parseTopArguments,
  type TopCommand,
} from "./parse_admin_arguments.ts";

/** The command that the command line requests. */
type Command =
  | { readonly kind: "help"; readonly of?: "ctl" | "top" | "simulate" }
  | { readonly kind: "version" }
  | { readonly kind: "init"; readonly folder: string }
  | { readonly kind: "simulate"; readonly command: SimulateCommand }
  | { readonly kind: "ctl"; readonly command: CtlCommand }
  | { readonly kind: "top"; readonly command: TopCommand }
  | { readonly kind: "run"; readonly options: RunOptions };

/** The options for running the proxy. */
export interface RunOptions {
  /** Path or URL of the configuration. */
  readonly source: string;
  /** Whether to only describe the configuration. */
  readonly check: boolean;
  /** Whether to check its types too. */
  readonly types: boolean;
  /** Whether to reload the configuration when its files change. */
  readonly watch: boolean;
  /** Addresses to listen at in place of those of the configuration; empty: those of the configuration. */
  readonly listen: readonly ResolvedListen[];
  /** Engine in place of that of the configuration; `null`: that of the configuration. */
  readonly engine: EngineName | null;
  /** Address of the admin listener in place of that of the configuration; `null`: that of the configuration. */
  readonly admin: AdminPlace | null;
  /** Number of workers in place of that of the configuration; `null`: that of the configuration. */
  readonly workers: number | null;
  /** Whether the proxy sends requests to itself, so that the dashboard shows traffic. */
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
 * Parses the command line.
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
  if (/^[a-z-]+$/i.test(source)) throw new UsageError(`Unknown command "${source}", ${commandHint(source)}`);
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

/** Suggests a command if a word is given in place of a configuration. */
function commandHint(word: string): string {
  if (["run", "start", "serve"].includes(word)) return "lbproxy proxy.config.ts runs a configuration";
  if (["validate", "test"].includes(word)) return "did you mean --check?";
  if (CTL_COMMANDS.includes(word)) return `did you mean ctl ${word}?`;
  const nearest = nearestName(word, ["ctl", "top", "simulate", ...FLAGS]);
  if (nearest === undefined) return "see --help";
  return `did you mean ${FLAGS.some((flag) => flag === nearest) ? `--${nearest}` : nearest}?`;
}

/** The value of `--admin` is optional: the next argument is its value only if it is an address. */
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

// Parses the command line of `lbproxy simulate`.

/** What to replay, and the form of the output. */
export interface SimulateCommand {
  /** Path or URL of the configuration. */
  readonly source: string;
  /** Path of the trace; `null` if traffic is generated. */
  readonly trace: string | null;
  /** Traffic to generate; `null` if there is a trace. */
  readonly traffic: { readonly perSecond: number; readonly keys: number; readonly forMs: number } | null;
  readonly seed: number;
  readonly json: boolean;
  /** How many keys the table lists. */
  readonly top: number;
}

const SIMULATE_FLAGS = ["json"] as const;
const SIMULATE_VALUES = ["rate", "keys", "for", "seed", "top"] as const;

/**
 * Parses the arguments after `simulate`.
 *
 * @throws {UsageError} when it cannot be understood
 */
export function parseSimulateArguments(args: readonly string[]): SimulateCommand {
  const parsed = parseArgs([...args], {
    boolean: SIMULATE_FLAGS,
    string: SIMULATE_VALUES,
    unknown: refuseOption([...SIMULATE_FLAGS, ...SIMULATE_VALUES]),
  });
  const [source, trace, another] = parsed._.map(String);
  if (source === undefined) throw new UsageError("simulate takes a configuration and a trace, see --help");
  if (another !== undefined) {
    throw new UsageError(`simulate takes one configuration and one trace, received "${another}" as well`);
  }
  const isGenerated = parsed.rate !== undefined || parsed.keys !== undefined || parsed.for !== undefined;
  if (trace === undefined && !isGenerated) {
    throw new UsageError(
      "simulate takes a trace, or traffic to make up such as --rate 50/s --keys 1000 --for 10m",
    );
  }
  if (trace !== undefined && isGenerated) {
    throw new UsageError("simulate takes either a trace or --rate, --keys and --for, received both");
  }
  return {
    source,
    trace: trace ?? null,
    traffic: isGenerated
      ? {
        perSecond: readRate(parsed.rate ?? "10/s"),
        keys: readCount("keys", parsed.keys ?? "100"),
        forMs: readLength(parsed.for ?? "1m"),
      }
      : null,
    seed: readCount("seed", parsed.seed ?? "1"),
    json: parsed.json,
    top: readCount("top", parsed.top ?? "20"),
  };
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

function readRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\/([smh])$/.exec(text);
  const perSecond = match === null ? 0 : Number(match[1]) / UNIT_SECONDS[match[2]!]!;
  if (perSecond > 0) return perSecond;
  throw new UsageError(`--rate must be a number of requests such as 50/s, 100/m or 5/h, received "${text}"`);
}

function readCount(name: string, text: string): number {
  const count = Number(text);
  if (/^\d{1,8}$/.test(text) && count > 0) return count;
  throw new UsageError(`--${name} must be a whole number from 1 to 99999999, received "${text}"`);
}

function readLength(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0) return ms;
  throw new UsageError(`--for must be a duration such as "30s" or "10m", received "${text}"`);
}
