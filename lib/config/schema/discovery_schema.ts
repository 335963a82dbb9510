/** The schema of servers that are found while the proxy runs. */

import * as v from "valibot";
import { parseResolver, RESOLVER_EXPECTED } from "../../upstream/dns_discovery.ts";
import type { DnsDiscoveryOptions } from "../../upstream/dns_discovery.ts";
import type { DiscoveryPacing } from "../discovery_options.ts";
import { positiveDurationSchema } from "./duration_schema.ts";
import { mustBe, oneOf } from "./messages.ts";
import { portSchema } from "./number_schema.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";

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
