/** What an operator says about servers that are found while the proxy runs. */

import { type Duration, parseDuration } from "../core/units.ts";
import type { Discover } from "../upstream/discovery.ts";
import {
  dnsDiscovery,
  type DnsDiscoveryOptions,
  parseResolver,
  RESOLVER_EXPECTED,
} from "../upstream/dns_discovery.ts";
import * as v from "valibot";
import {
  isRecord,
  mustBe,
  oneOf,
  optionsObject,
  pathItem,
  portSchema,
  positiveDurationSchema,
} from "./schema/schemas.ts";
import type { ServerOptions } from "./server_options.ts";

/**
 * Finds the servers of a pool; the signal aborts when the time is up. A search that fails or finds nothing leaves the
 * servers as they are.
 */
export type FindServers = (signal: AbortSignal) => Promise<readonly (string | ServerOptions)[]>;

/** How often servers are looked for. */
export interface DiscoveryPacing {
  /** From the end of a search to the next one. @default {"30s"} */
  interval?: Duration;
  /** How long a search may take. @default {"5s"} */
  timeout?: Duration;
}

/** Servers by the DNS, or by a function that is called at an interval of its own. */
export type DiscoveryOptions =
  & DiscoveryPacing
  & (({ type: "dns" } & DnsDiscoveryOptions) | { type: "custom"; discover: FindServers });

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

const TYPES = ["dns", "custom"] as const;
const RECORDS = ["A", "AAAA", "SRV"] as const;
const DISCOVERY_EXPECTED = `an object with a "type" (${oneOf(TYPES)}) or a function`;

const pacingEntries = {
  interval: v.optional(positiveDurationSchema),
  timeout: v.optional(positiveDurationSchema),
} satisfies Record<keyof DiscoveryPacing, v.GenericSchema>;

const dnsEntries = {
  name: v.custom<string>(
    (value) => typeof value === "string" && /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/.test(value),
    mustBe('a name such as "api.internal"'),
  ),
  record: v.picklist(RECORDS, mustBe(oneOf(RECORDS))),
  port: v.optional(portSchema),
  resolver: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && parseResolver(value) !== undefined,
      mustBe(RESOLVER_EXPECTED),
    ),
  ),
} satisfies Record<keyof DnsDiscoveryOptions, v.GenericSchema>;

const typeSchema = v.picklist(TYPES, mustBe(oneOf(TYPES)));

const dnsSchema = v.pipe(
  optionsObject({ type: typeSchema, ...dnsEntries, ...pacingEntries }, DISCOVERY_EXPECTED),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    const { record, port } = value;
    const path: [v.IssuePathItem] = [pathItem(value, "port")];
    if (record === "SRV" && port !== undefined) {
      addIssue({ message: 'is not possible where "record" is "SRV", which tells the ports', path });
    }
    if ((record === "A" || record === "AAAA") && port === undefined) {
      addIssue({ message: `is required where "record" is "${record}"`, path });
    }
  }),
);

const discoverSchema = v.custom((value) => typeof value === "function", mustBe("a function"));
const customSchema = optionsObject(
  { type: typeSchema, discover: discoverSchema, ...pacingEntries },
  DISCOVERY_EXPECTED,
);
const otherwiseSchema = optionsObject({ type: typeSchema }, DISCOVERY_EXPECTED);

/** How servers are found. */
export const discoverySchema: v.GenericSchema = v.lazy((input) => {
  if (typeof input === "function") return discoverSchema;
  switch (isRecord(input) ? input.type : undefined) {
    case "dns":
      return dnsSchema;
    case "custom":
      return customSchema;
    default:
      return isRecord(input) ? v.object({ type: typeSchema }, "is required") : otherwiseSchema;
  }
});
