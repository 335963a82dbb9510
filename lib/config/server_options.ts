/** Servers, the way to them, and how long exchanges with them may take. */

import type { Duration } from "../core/units.ts";
import type { UpstreamTlsOptions } from "../filter/resolve_peer.ts";
import { ADDRESS_EXPECTED, parseAddress } from "../upstream/address.ts";
import type { Peer } from "../upstream/peer.ts";
import { MAX_WEIGHT } from "../upstream/server_spec.ts";
import * as v from "valibot";
import { isBrokenIpv4 } from "./listen_options.ts";
import {
  isRecord,
  limitSchema,
  mustBe,
  mustBeSecret,
  optionsObject,
  pathItem,
  positiveDurationSchema,
  wholeNumberSchema,
} from "./schema/schemas.ts";

/** A server with more to say than its address. */
export interface ServerOptions {
  /** `"host:port"`, `"https://host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests, beside the others': a whole number from 0 (none) to 65535. @default {1} */
  weight?: number;
  /** TLS towards this server; options are laid over those of the pool, `false` is plain text. @default {the pool's} */
  tls?: boolean | UpstreamTlsOptions;
  /** Only used when no server that is not a backup can be. @default {false} */
  backup?: boolean;
  /** Words of your own, for balancing functions and filters. @default {[]} */
  tags?: readonly string[];
  /** How many requests may run there at once. @default {Infinity} */
  maxInFlight?: number;
}

/** How long each part of an exchange with a server may take. */
export interface TimeoutOptions {
  /** TCP connection. @default {"3s"} */
  connect?: Duration;
  /** TLS handshake after it; `fetch`, which does not tell the two apart, takes `connect` for both. @default {as `connect`} */
  tls?: Duration;
  /** From the end of the request until the head of the response. @default {"30s"} */
  response?: Duration;
  /**
   * Between two pieces of a body, in either direction; whoever makes progress, however slow, is never cut off. Server-sent
   * events (`text/event-stream`) may pause for as long as they like, unless it is set. @default {"60s"}
   */
  idle?: Duration;
  /**
   * The whole exchange, from the arrival of the request to the end of the response: filters, waiting in a queue and all
   * attempts count, and what is left of it is all that an attempt gets. A WebSocket has only to be open by then. Without
   * it as long as it takes.
   */
  total?: Duration;
}

/** A server, complete. */
export interface ResolvedServer {
  /** The address as configured, without its scheme. */
  readonly id: string;
  readonly peer: Peer;
  readonly weight: number;
  readonly backup: boolean;
  readonly tags: readonly string[];
  readonly maxInFlight: number;
}

/** Says what an address has to look like, with the hint that fits what was written; `undefined` when it is good. */
function expectedAddress(text: string): string | undefined {
  const parsed = parseAddress(text);
  if (parsed !== undefined) {
    const { address } = parsed;
    if (address.kind === "tcp" && isBrokenIpv4(address.hostname)) {
      return `${ADDRESS_EXPECTED} with a whole IPv4 address or a name`;
    }
    return undefined;
  }
  if (text.startsWith("unix:")) return '"unix:/path" with an absolute path';
  const port = /:(\d+)\/?$/.exec(text);
  if (port !== null && (Number(port[1]) < 1 || Number(port[1]) > 65535)) {
    return `${ADDRESS_EXPECTED} with a port from 1 to 65535`;
  }
  if (/^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*$/.test(text)) {
    return `${ADDRESS_EXPECTED} with an IPv6 address in brackets ("[::1]:80")`;
  }
  const scheme = /^([A-Za-z][\w+.-]*):\/\//.exec(text)?.[1];
  if (scheme !== undefined && scheme !== "http" && scheme !== "https") {
    return `${ADDRESS_EXPECTED}, "http://..." or "https://..."`;
  }
  if (/^https?:\/\/[^/]*@/.test(text)) return `${ADDRESS_EXPECTED} without user name and password`;
  if (/^(?:https?:\/\/)?[^/]+\//.test(text)) return `${ADDRESS_EXPECTED} without a path`;
  return ADDRESS_EXPECTED;
}

/** `"host:port"`, with or without scheme, or `"unix:/path"`. */
const addressSchema = v.pipe(
  v.string(mustBe(ADDRESS_EXPECTED)),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const expected = expectedAddress(dataset.value);
    if (expected !== undefined) addIssue({ message: mustBe(expected)({ input: dataset.value }) });
  }),
);

const TLS_EXPECTED = "true, false or an object with TLS options";
const SERVER_NAME =
  /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$|^[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$/;

/** PEM text of something; the name of a file, which is what many write instead, is refused. */
function pemSchema(label: string, begins: RegExp): v.GenericSchema {
  return v.custom<string>(
    (value) => typeof value === "string" && begins.test(value),
    mustBeSecret(`the PEM text of a ${label}`),
  );
}

const certificateSchema = pemSchema("certificate", /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/);
const keySchema = pemSchema("private key", /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/);

const tlsEntries = {
  serverName: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && SERVER_NAME.test(value),
      mustBe("a host name without port"),
    ),
  ),
  caCerts: v.optional(
    v.pipe(
      v.array(certificateSchema, mustBeSecret("an array of PEM texts")),
      v.minLength(1, mustBe("an array of at least one PEM text")),
    ),
  ),
  cert: v.optional(certificateSchema),
  key: v.optional(keySchema),
  verifyHostname: v.optional(v.boolean(mustBe("true or false"))),
} satisfies Record<keyof UpstreamTlsOptions, v.GenericSchema>;

const tlsOptionsSchema = v.pipe(
  optionsObject(tlsEntries, TLS_EXPECTED),
  v.rawCheck(({ dataset, addIssue }) => {
    const { value } = dataset;
    if (!isRecord(value)) return;
    for (const [present, missing] of [["cert", "key"], ["key", "cert"]] as const) {
      if (value[present] === undefined || value[missing] !== undefined) continue;
      addIssue({ message: `is required beside "${present}"`, path: [pathItem(value, missing)] });
    }
  }),
);

/** `true`, `false` or the options. */
export const tlsSchema: v.GenericSchema = v.lazy((input) =>
  typeof input === "boolean" ? v.boolean() : tlsOptionsSchema
);

const timeoutEntries = {
  connect: v.optional(positiveDurationSchema),
  tls: v.optional(positiveDurationSchema),
  response: v.optional(positiveDurationSchema),
  idle: v.optional(positiveDurationSchema),
  total: v.optional(positiveDurationSchema),
} satisfies Record<keyof TimeoutOptions, v.GenericSchema>;

/** How long each part of an exchange may take. */
export const timeoutsSchema: v.GenericSchema = optionsObject(timeoutEntries, "an object with timeouts");

const serverEntries = {
  address: addressSchema,
  weight: v.optional(wholeNumberSchema(0, MAX_WEIGHT)),
  tls: v.optional(tlsSchema),
  backup: v.optional(v.boolean(mustBe("true or false"))),
  tags: v.optional(
    v.custom(
      (value) => Array.isArray(value) && value.every((tag) => typeof tag === "string"),
      mustBe("an array of words"),
    ),
  ),
  maxInFlight: v.optional(limitSchema(1)),
} satisfies Record<keyof ServerOptions, v.GenericSchema>;

const SERVER_EXPECTED = '"host:port" or an object with "address"';
const serverOptionsSchema = optionsObject(serverEntries, SERVER_EXPECTED);
const otherwiseSchema = v.custom(() => false, mustBe(SERVER_EXPECTED));

/** An address, or an object with one. */
export const serverSchema: v.GenericSchema = v.lazy((input) => {
  if (typeof input === "string") return addressSchema;
  return isRecord(input) ? serverOptionsSchema : otherwiseSchema;
});
