/** Proxies in front of this one whose word counts, and who the client is by their word. */

import { CidrList, expectedCidr } from "./cidr.ts";
import { readForwarded } from "./forwarded_elements.ts";
import { makeHextets, readIpAddress } from "./ip_address.ts";

/** Networks that have a name. */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  loopback: ["127.0.0.0/8", "::1"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
};

/** Whoever comes over a unix socket. */
const UNIX = "unix";

/** What an entry has to look like, for error messages; `undefined` when it is good. */
export function expectedTrustedProxy(value: unknown): string | undefined {
  if (value === UNIX || (typeof value === "string" && Object.hasOwn(NAMED, value))) return undefined;
  const expected = expectedCidr(value);
  return expected === undefined ? undefined : `"loopback", "private", "unix", ${expected}`;
}

/** What trusted proxies say of a request. */
export interface ForwardedWord {
  /** Address of the client: the nearest one that is not a trusted proxy's. */
  readonly clientIp: string;
  /** Scheme that the client used; `null` when nobody says. */
  readonly scheme: "http" | "https" | null;
  /** Host that the client asked for; `null` when nobody says. */
  readonly host: string | null;
}

/** The proxies that are believed. */
export class TrustedProxies {
  /** The entries as they were written. */
  readonly entries: readonly string[];
  readonly #networks: CidrList;
  readonly #unix: boolean;

  /** @throws {TypeError} when an entry is neither a name nor a network */
  constructor(entries: readonly string[]) {
    this.entries = Object.freeze([...entries]);
    this.#unix = entries.includes(UNIX);
    this.#networks = new CidrList(
      entries.filter((entry) => entry !== UNIX).flatMap((entry) =>
        Object.hasOwn(NAMED, entry) ? NAMED[entry]! : [entry]
      ),
    );
  }

  /** Whether the word of this address counts; `""` is whoever comes over a unix socket. */
  trusts(address: string): boolean {
    return address === "" ? this.#unix : this.#networks.has(address);
  }

  /**
   * Who the client is, by the word of a peer that is trusted.
   *
   * Goes from right to left, from the proxy that is nearest: each entry was written by the one on its right, so the
   * first address that is not trusted is the last one that can be believed. What cannot be read ends it there too.
   *
   * @param peer address that the connection comes from
   */
  ask(peer: string, fields: Headers): ForwardedWord {
    const forwardedFor = fields.get("x-forwarded-for");
    const forwarded = fields.get("forwarded");
    if (forwardedFor === null && forwarded !== null) return this.#askForwarded(peer, forwarded);
    const hops = forwardedFor === null ? [] : forwardedFor.split(",");
    return {
      clientIp: this.#nearest(peer, hops),
      scheme: schemeOf(lastOf(fields.get("x-forwarded-proto"))),
      host: lastOf(fields.get("x-forwarded-host")),
    };
  }

  #askForwarded(peer: string, field: string): ForwardedWord {
    const elements = readForwarded(field);
    const last = elements.at(-1);
    return {
      clientIp: this.#nearest(peer, elements.map((element) => element.for ?? "")),
      scheme: schemeOf(last?.proto ?? null),
      host: last?.host ?? null,
    };
  }

  #nearest(peer: string, hops: readonly string[]): string {
    let nearest = peer;
    for (let i = hops.length - 1; i >= 0; i--) {
      const address = readNode(hops[i]!);
      if (address === null) return nearest;
      nearest = address;
      if (!this.trusts(address)) return nearest;
    }
    return nearest;
  }
}

/** What the nearest proxy says, where each one has added its own. */
function lastOf(field: string | null): string | null {
  if (field === null) return null;
  return field.slice(field.lastIndexOf(",") + 1).trim() || null;
}

function schemeOf(text: string | null): "http" | "https" | null {
  const scheme = text?.toLowerCase();
  return scheme === "http" || scheme === "https" ? scheme : null;
}

const PLACE = makeHextets();

/** The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; `null` for anything else. */
function readNode(text: string): string | null {
  const node = text.trim();
  const bracketed = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(node);
  const withPort = /^([\d.]+):\d{1,5}$/.exec(node);
  const address = bracketed?.[1] ?? withPort?.[1] ?? node;
  return readIpAddress(address, PLACE) === 0 ? null : plainAddress(address);
}

/** An IPv4 address without the clothes of IPv6 in which a socket for both hands it over. */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
