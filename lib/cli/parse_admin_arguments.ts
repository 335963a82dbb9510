/** Parses the command lines of `lbproxy ctl` and `lbproxy top`. */

import { parseArgs } from "@std/cli/parse-args";
import { nearestName } from "../core/describe_value.ts";
import { LOG_LEVELS } from "../observe/events.ts";
import { MAX_WEIGHT } from "../upstream/peer.ts";
import type { AdminAccess } from "./admin_client.ts";
import { refuseOption, UsageError } from "./io.ts";

/** A request to the admin listener. */
type CtlRequest =
  | { readonly kind: "show"; readonly what: "status" | "config" }
  | { readonly kind: "keys"; readonly policy: string; readonly near: string }
  | { readonly kind: "explain"; readonly query: string }
  | { readonly kind: "change"; readonly path: string; readonly body: Readonly<Record<string, unknown>> };

/** `lbproxy ctl ...`. */
export interface CtlCommand {
  readonly access: AdminAccess;
  readonly request: CtlRequest;
  /** Whether to print the response as JSON. */
  readonly json: boolean;
}

/** `lbproxy top ...`. */
export interface TopCommand {
  readonly access: AdminAccess;
  /** How often to show the state; `Infinity` until a signal. */
  readonly count: number;
}

const ACCESS = ["admin", "token", "token-file", "ca"] as const;
const EXPLAIN_OPTIONS = ["method", "client", "header"] as const;
/** The arguments of each command. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  status: [],
  config: [],
  reload: [],
  drain: ["POOL", "SERVER"],
  ready: ["POOL", "SERVER"],
  disable: ["POOL", "SERVER"],
  remove: ["POOL", "SERVER"],
  add: ["POOL", "SERVER"],
  weight: ["POOL", "SERVER", "NUMBER"],
  keys: ["POLICY"],
  explain: ["TARGET"],
  ban: ["POLICY", "KEY", "[DURATION]"],
  reset: ["POLICY", "KEY"],
  "log-level": ["LEVEL"],
};

/** The commands of `ctl`. */
export const CTL_COMMANDS: readonly string[] = Object.freeze(Object.keys(COMMANDS));

/**
 * Parses the arguments after `ctl`.
 *
 * @throws {UsageError} when it cannot be understood
 */
export function parseCtlArguments(args: readonly string[]): CtlCommand {
  const parsed = parseArgs([...args], {
    boolean: ["json"],
    string: [...ACCESS, "near", "weight", ...EXPLAIN_OPTIONS, "_"],
    collect: ["header"],
    unknown: refuseOption(["json", ...ACCESS, "near", "weight", ...EXPLAIN_OPTIONS]),
  });
  const [name, ...words] = parsed._.map(String);
  if (name === undefined) throw new UsageError(`ctl takes a command: ${CTL_COMMANDS.join(", ")}`);
  const parameters = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined;
  if (parameters === undefined) {
    const nearest = nearestName(name, CTL_COMMANDS);
    const hint = nearest === undefined ? `known are ${CTL_COMMANDS.join(", ")}` : `did you mean ${nearest}?`;
    throw new UsageError(`Unknown command "${name}" of ctl, ${hint}`);
  }
  const least = parameters.filter((word) => !word.startsWith("[")).length;
  if (words.length < least || words.length > parameters.length) {
    throw new UsageError(`Usage: lbproxy ctl ${[name, ...parameters].join(" ")}`);
  }
  if (name === "explain") {
    const request = { kind: "explain", query: explainQuery(words[0]!, parsed) } as const;
    return { access: accessOf(parsed), json: parsed.json, request };
  }
  const options = { near: parsed.near ?? "0", weight: parsed.weight };
  return { access: accessOf(parsed), json: parsed.json, request: requestOf(name, words, options) };
}

/**
 * Parses the arguments after `top`.
 *
 * @throws {UsageError} when it cannot be understood
 */
export function parseTopArguments(args: readonly string[]): TopCommand {
  const parsed = parseArgs([...args], {
    string: [...ACCESS, "count"],
    unknown: refuseOption([...ACCESS, "count"]),
  });
  const [word] = parsed._;
  if (word !== undefined) throw new UsageError(`top takes options only, received "${word}"`);
  const { count } = parsed;
  if (count !== undefined && !/^[1-9]\d{0,8}$/.test(count)) {
    throw new UsageError(`--count must be a whole number of at least 1, received "${count}"`);
  }
  return { access: accessOf(parsed), count: count === undefined ? Infinity : Number(count) };
}

function accessOf(
  parsed: Readonly<Partial<Record<typeof ACCESS[number], string | undefined>>>,
): AdminAccess {
  return {
    address: parsed.admin ?? null,
    token: parsed.token ?? null,
    tokenFile: parsed["token-file"] ?? null,
    caFile: parsed.ca ?? null,
  };
}

/** Makes the query of `explain`; the target is a path or a URL. */
function explainQuery(
  target: string,
  { method, client, header = [] }: { method?: string; client?: string; header?: readonly string[] },
): string {
  const query = new URLSearchParams();
  const [, host, path = ""] = /^https?:\/\/([^/?]*)(.*)$/i.exec(target) ?? [];
  if (host !== undefined) query.set("host", host);
  query.set("target", host === undefined ? target : path.startsWith("/") ? path : `/${path}`);
  if (method !== undefined) query.set("method", method);
  if (client !== undefined) query.set("client", client);
  for (const line of header) query.append("header", line);
  return query.toString();
}

function requestOf(
  name: string,
  words: readonly string[],
  { near, weight }: { near: string; weight: string | undefined },
): CtlRequest {
  const [first = "", second = "", third] = words;
  const server = `/pools/${encodeURIComponent(first)}/servers/${encodeURIComponent(second)}`;
  const keys = `/limits/${encodeURIComponent(first)}/keys`;
  switch (name) {
    case "status":
    case "config":
      return { kind: "show", what: name };
    case "keys":
      return { kind: "keys", policy: first, near };
    case "reload":
      return { kind: "change", path: "/reload", body: {} };
    case "add": {
      const body = { address: second, ...(weight === undefined ? {} : { weight: readWeight(weight) }) };
      return { kind: "change", path: `/pools/${encodeURIComponent(first)}/servers`, body };
    }
    case "weight":
      return { kind: "change", path: `${server}/weight`, body: { weight: readWeight(third!) } };
    case "ban":
      return {
        kind: "change",
        path: `${keys}/ban`,
        body: { key: second, ...(third === undefined ? {} : { duration: third }) },
      };
    case "reset":
      return { kind: "change", path: `${keys}/reset`, body: { key: second } };
    case "log-level": {
      const level = LOG_LEVELS.find((each) => each === first);
      if (level === undefined) {
        throw new UsageError(`The level must be one of ${LOG_LEVELS.join(", ")}, received "${first}"`);
      }
      return { kind: "change", path: "/log-level", body: { level } };
    }
    default:
      return { kind: "change", path: `${server}/${name}`, body: {} };
  }
}

function readWeight(text: string): number {
  const weight = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && weight <= MAX_WEIGHT) return weight;
  throw new UsageError(`The weight must be a number from 0 to ${MAX_WEIGHT}, received "${text}"`);
}
