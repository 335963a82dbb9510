/** What an operator says about servers that are found while the proxy runs. */

import {
  choose,
  DURATION_ABOVE_0,
  FUNCTION,
  isRecord,
  object,
  ofType,
  oneOf,
  PORT,
  required,
  type Rule,
  type Rules,
  text,
  word,
} from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import type { Discover } from "../upstream/discovery.ts";
import {
  dnsDiscovery,
  type DnsDiscoveryOptions,
  parseResolver,
  RESOLVER_EXPECTED,
} from "../upstream/dns_discovery.ts";
import type { ServerOptions } from "./server_options.ts";

/**
 * Finds the servers of a pool; the signal aborts when the time is up. A search that fails or finds nothing leaves the
 * servers as they are.
 */
type FindServers = Extract<DiscoveryOptions, { type: "custom" }>["discover"];

/** How often servers are looked for. */
type DiscoveryPacing = Pick<DiscoveryOptions, "interval" | "timeout">;

/** Servers by the DNS, or by a function that is called at an interval of its own. */
export type DiscoveryOptions =
  & {
    /** From the end of a search to the next one. @default {"30s"} */
    interval?: Duration;
    /** How long a search may take. @default {"5s"} */
    timeout?: Duration;
  }
  & (
    | ({
      /** Who is asked: the DNS, for which `name` and `record` are required, or `discover`. */
      type: "dns";
    } & DnsDiscoveryOptions)
    | {
      type: "custom";
      /** Finds the servers, for the type `"custom"`. */
      discover: (signal: AbortSignal) => Promise<readonly (string | ServerOptions)[]>;
    }
  );

/** Discovery, complete. */
export interface ResolvedDiscovery {
  /** Where servers are looked for, in words. */
  readonly source: string;
  readonly discover: Discover;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** Completes a discovery that is known to be good. */
export function resolveDiscovery(discovery: DiscoveryOptions | FindServers): ResolvedDiscovery {
  const options: DiscoveryOptions = typeof discovery === "function"
    ? { type: "custom", discover: discovery }
    : discovery;
  const { interval = "30s", timeout = "5s" } = options;
  return Object.freeze({
    source: describeSource(options),
    discover: options.type === "dns" ? dnsDiscovery(options) : options.discover as Discover,
    intervalMs: parseDuration(interval)!,
    timeoutMs: parseDuration(timeout)!,
  });
}

function describeSource(options: DiscoveryOptions): string {
  if (options.type === "custom") return "by a function";
  const { name, record, port, resolver } = options;
  const place = port === undefined ? "" : ` with port ${port}`;
  return `by ${record} records of ${name}${place}${resolver === undefined ? "" : ` from ${resolver}`}`;
}

const TYPES = ["dns", "custom"];
const EXPECTED = `an object with a "type" (${oneOf(TYPES)}) or a function`;
const TYPE = required(word(TYPES));
const PACING: Rules<DiscoveryPacing> = { interval: DURATION_ABOVE_0, timeout: DURATION_ABOVE_0 };

const DNS = object<{ type: "dns" } & DnsDiscoveryOptions & DiscoveryPacing>(
  {
    type: TYPE,
    name: required(text(
      'a name such as "api.internal"',
      (name) => /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/.test(name),
    )),
    record: required(word(["A", "AAAA", "SRV"])),
    port: PORT,
    resolver: text(RESOLVER_EXPECTED, (resolver) => parseResolver(resolver) !== undefined),
    ...PACING,
  },
  EXPECTED,
  {
    check({ record, port }, report) {
      if (record === "SRV" && port !== undefined) {
        report('is not possible where "record" is "SRV", which tells the ports', "port");
      }
      if ((record === "A" || record === "AAAA") && port === undefined) {
        report(`is required where "record" is "${record}"`, "port");
      }
    },
  },
);

const CUSTOM = object<{ type: "custom"; discover: FindServers } & DiscoveryPacing>(
  { type: TYPE, discover: required(FUNCTION), ...PACING },
  EXPECTED,
);

/** How servers are found. */
export const DISCOVERY: Rule = choose((value) => {
  if (typeof value === "function") return FUNCTION;
  if (isRecord(value) && value.type === "custom") return CUSTOM;
  // Which options there may be depends on the type.
  return isRecord(value) && value.type !== "dns" ? ofType(TYPE) : DNS;
});
