/** Reads the command line of `lbproxy simulate`. */

import { parseArgs } from "@std/cli/parse-args";
import { parseDuration } from "../core/units.ts";
import { refuseOption, UsageError } from "./io.ts";

/** What to replay, and how to show it. */
export interface SimulateCommand {
  /** Path or URL of the configuration. */
  readonly source: string;
  /** Path of the trace; `null` when traffic is made up. */
  readonly trace: string | null;
  /** Traffic to make up; `null` when there is a trace. */
  readonly traffic: { readonly perSecond: number; readonly keys: number; readonly forMs: number } | null;
  readonly seed: number;
  readonly json: boolean;
  /** How many keys the table lists. */
  readonly top: number;
}

const FLAGS = ["json"] as const;
const VALUES = ["rate", "keys", "for", "seed", "top"] as const;

/**
 * Reads what comes after `simulate`.
 *
 * @throws {UsageError} when it cannot be understood
 */
export function parseSimulateArguments(args: readonly string[]): SimulateCommand {
  const parsed = parseArgs([...args], {
    boolean: FLAGS,
    string: VALUES,
    unknown: refuseOption([...FLAGS, ...VALUES]),
  });
  const [source, trace, another] = parsed._.map(String);
  if (source === undefined) throw new UsageError("simulate takes a configuration and a trace, see --help");
  if (another !== undefined) {
    throw new UsageError(`simulate takes one configuration and one trace, received "${another}" as well`);
  }
  const made = parsed.rate !== undefined || parsed.keys !== undefined || parsed.for !== undefined;
  if (trace === undefined && !made) {
    throw new UsageError(
      "simulate takes a trace, or traffic to make up such as --rate 50/s --keys 1000 --for 10m",
    );
  }
  if (trace !== undefined && made) {
    throw new UsageError("simulate takes either a trace or --rate, --keys and --for, received both");
  }
  return {
    source,
    trace: trace ?? null,
    traffic: made
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
