/** Trusted proxies in front of this one, and the client as they report it. */

import { choose, isRecord, list, must, object, required, type Rule, word } from "../core/options.ts";
import { CidrList, expectedCidr, makeHextets, readIpAddress } from "./ip_address.ts";
import { readForwarded } from "./proxy_fields.ts";
import { isHost } from "./request_target.ts";

/** Networks with a name. */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  loopback: ["127.0.0.0/8", "::1"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
};

/** Clients of a unix socket. */
const UNIX = "unix";

/** The accepted forms of an entry, for error messages; `undefined` when the value is valid. */
export function expectedTrustedProxy(value: unknown): string | undefined {
  if (value === UNIX || (typeof value === "string" && Object.hasOwn(NAMED, value))) return undefined;
  const expected = expectedCidr(value);
  return expected === undefined ? undefined : `"loopback", "private", "unix", ${expected}`;
}

/** The field in which proxies name their clients. */
export type TrustedField = NonNullable<TrustedProxiesOptions["field"]>;

/** The fields to choose from. */
const TRUSTED_FIELDS: readonly TrustedField[] = ["x-forwarded-for", "forwarded"];

/**
 * Proxies in front of this one, and the field in which they name their clients.
 *
 * @example A load balancer in front names the client
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   trustedProxies: { from: ["10.0.0.0/8"], field: "forwarded" },
 * });
 * ```
 */
export interface TrustedProxiesOptions {
  /** Addresses, networks, `"loopback"`, `"private"` (RFC 1918 and RFC 4193), or `"unix"` for clients of a unix socket. */
  from: readonly string[];
  /**
   * The field to which each of them adds its client: `X-Forwarded-For`, with `-Proto` and `-Host`, or `Forwarded`
   * (RFC 7239). The other field is ignored and removed: a proxy that does not write it passes on what clients send in it.
   *
   * @default {"x-forwarded-for"}
   */
  field?: "x-forwarded-for" | "forwarded";
}

/** The address of an unknown client, as proxies write it (RFC 7239 section 6.2). */
const UNKNOWN_CLIENT = "unknown";

/** Fields that can be read by name. */
interface ReadableFields {
  get(name: string): string | null;
}

/** What trusted proxies report about a request. */
interface TrustedForwarding {
  /**
   * Address of the client: the nearest one that is not a trusted proxy's; {@linkcode UNKNOWN_CLIENT} when a trusted
   * proxy names its client by something that is no address.
   */
  readonly clientIp: string;
  /** Scheme that the client used; `null` if no trusted proxy reports it. */
  readonly scheme: "http" | "https" | null;
  /** Host that the client asked for; `null` if no trusted proxy reports it. */
  readonly host: string | null;
  /**
   * The field as it is forwarded to servers, with an unknown client in place of unreadable parts; `null` when it is
   * absent.
   */
  readonly said: string | null;
}

const EXPECTED = 'an array of addresses, networks, "loopback", "private" or "unix"';
const NETWORK: Rule = must(
  (value) => expectedTrustedProxy(value) === undefined,
  (value) => expectedTrustedProxy(value) ?? "",
);

/** Addresses and networks of proxies. */
export const NETWORKS: Rule = list(NETWORK, EXPECTED);

const TRUSTED_OBJECT = object<TrustedProxiesOptions>({
  from: required(NETWORKS),
  field: word(TRUSTED_FIELDS),
}, 'an object with "from"');
const TRUSTED_ARRAY = list(
  NETWORK,
  `${EXPECTED}, or an object such as { from: ["10.0.0.0/8"], field: "forwarded" }`,
);

/** The list of trusted proxies, or an object with it. */
export const TRUSTED_PROXIES: Rule = choose((value) => isRecord(value) ? TRUSTED_OBJECT : TRUSTED_ARRAY);

/** The proxies that are trusted. */
export class TrustedProxies {
  /** The entries as they were written. */
  readonly entries: readonly string[];
  /** See {@linkcode TrustedProxiesOptions.field}. */
  readonly field: TrustedField;
  readonly #networks: CidrList;
  readonly #unix: boolean;

  /** @throws {TypeError} when an entry is neither a name nor a network */
  constructor(entries: readonly string[], field: TrustedField = "x-forwarded-for") {
    this.entries = Object.freeze([...entries]);
    this.field = field;
    this.#unix = entries.includes(UNIX);
    this.#networks = new CidrList(
      entries.filter((entry) => entry !== UNIX).flatMap((entry) =>
        Object.hasOwn(NAMED, entry) ? NAMED[entry]! : [entry]
      ),
    );
  }

  /** Whether the address is trusted; `""` is a client of a unix socket. */
  trusts(address: string): boolean {
    return address === "" ? this.#unix : this.#networks.has(address);
  }

  /**
   * The client, as a trusted peer reports it.
   *
   * Goes from right to left, starting with the nearest proxy: each entry was written by the proxy on its right, so
   * the first address that is not trusted is the last one that can be believed. If a trusted proxy writes an
   * unreadable entry, its client is unknown: to take the proxy itself for the client would grant it the rights of
   * proxies. Without the field, the peer is the client.
   *
   * @param peer address that the connection comes from
   */
  ask(peer: string, fields: ReadableFields): TrustedForwarding {
    const value = fields.get(this.field);
    return this.field === "forwarded" ? this.#askForwarded(peer, value) : this.#askFor(peer, value, fields);
  }

  #askFor(peer: string, value: string | null, fields: ReadableFields): TrustedForwarding {
    return {
      clientIp: value === null ? peer : this.#nearest(peer, value.split(",")),
      scheme: schemeOf(lastOf(fields.get("x-forwarded-proto"))),
      host: hostOf(lastOf(fields.get("x-forwarded-host"))),
      said: value === "" ? UNKNOWN_CLIENT : value,
    };
  }

  #askForwarded(peer: string, value: string | null): TrustedForwarding {
    if (value === null) return { clientIp: peer, scheme: null, host: null, said: null };
    const { elements, text } = readForwarded(value);
    const last = elements.at(-1);
    const hops = elements.map((element) => element.for ?? "");
    const whole = text !== "" && text.length === value.length;
    // An unreadable part on the left was written by an unknown client.
    if (!whole) hops.unshift(UNKNOWN_CLIENT);
    return {
      clientIp: this.#nearest(peer, hops),
      scheme: schemeOf(last?.proto ?? null),
      host: hostOf(last?.host ?? null),
      said: whole ? text : `for=${UNKNOWN_CLIENT}${text === "" ? "" : `, ${text}`}`,
    };
  }

  #nearest(peer: string, hops: readonly string[]): string {
    let nearest = peer;
    for (let i = hops.length - 1; i >= 0; i--) {
      const address = readNode(hops[i]!);
      if (address === null) return UNKNOWN_CLIENT;
      nearest = address;
      if (!this.trusts(address)) return nearest;
    }
    return nearest;
  }
}

/** The last element, which the nearest proxy has added. */
function lastOf(field: string | null): string | null {
  if (field === null) return null;
  return field.slice(field.lastIndexOf(",") + 1).trim() || null;
}

function schemeOf(text: string | null): "http" | "https" | null {
  const scheme = text?.toLowerCase();
  return scheme === "http" || scheme === "https" ? scheme : null;
}

function hostOf(text: string | null): string | null {
  return text !== null && isHost(text) ? text : null;
}

const HEXTETS = makeHextets();

/** The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; `null` for anything else. */
function readNode(text: string): string | null {
  const node = text.trim();
  const bracketed = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(node);
  const withPort = /^([\d.]+):\d{1,5}$/.exec(node);
  const address = bracketed?.[1] ?? withPort?.[1] ?? node;
  return readIpAddress(address, HEXTETS) === 0 ? null : plainAddress(address);
}

/** An IPv4 address without the IPv6 prefix that a dual-stack socket reports. */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
