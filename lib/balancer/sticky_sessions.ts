/** Sticky sessions, which keep each client at its server by a signed cookie. */

import { createHmac } from "node:crypto";
import { setCookie } from "@std/http/cookie";
import {
  DURATION_ABOVE_0,
  FLAG,
  mustSecretly,
  object,
  required,
  type Rule,
  text,
  word,
} from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import { ineligibility } from "../upstream/eligibility.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type { PickRequest } from "./algorithm.ts";

/**
 * Sends each client to the server that served it first, by a signed cookie.
 *
 * @example Keep clients at their server
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     servers: ["127.0.0.1:9001", "127.0.0.1:9002"],
 *     // In production, read it from a file or the environment. Use the same on each machine.
 *     sticky: { cookie: "server", secret: "a secret of the documentation", maxAge: "1h" },
 *   },
 * });
 * ```
 */
export interface StickyOptions {
  /** Name of the cookie. @default {"lbproxy"} */
  cookie?: string;
  /** Key that signs the cookie: at least 16 characters; use the same in every proxy in front of the same servers. */
  secret: string;
  /** How long clients keep the cookie, in whole seconds. @default {until the browser closes} */
  maxAge?: Duration;
  /** The path below which clients send the cookie. @default {"/"} */
  path?: string;
  /** The domain for whose hosts clients send the cookie. @default {only the host of the request} */
  domain?: string;
  /** Whether browsers send the cookie with requests from other sites; `"None"` makes it `Secure`. @default {"Lax"} */
  sameSite?: "Strict" | "Lax" | "None";
  /** Whether clients send the cookie over TLS only. @default {whether the request arrived over TLS} */
  secure?: boolean;
  /** Whether a draining server still serves its sticky clients. @default {false} */
  keepWhileDraining?: boolean;
}

/** {@linkcode StickyOptions} with all defaults. */
export interface ResolvedSticky {
  readonly cookie: string;
  readonly secret: string;
  /** `null` is until the browser closes. */
  readonly maxAgeSeconds: number | null;
  readonly path: string;
  readonly domain: string | null;
  readonly sameSite: "Strict" | "Lax" | "None";
  /** `null`: as the request arrived. */
  readonly secure: boolean | null;
  readonly keepWhileDraining: boolean;
}

/** Fewest characters of a secret. */
const MIN_SECRET_LENGTH = 16;

/** The characters of a cookie's name: a token (RFC 6265 section 4.1.1). */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** The characters of `Path` and `Domain`. */
const ATTRIBUTE = /^[\x20-\x3a\x3c-\x7e]+$/;

/** Validates {@linkcode StickyOptions}. */
export const STICKY: Rule = object<StickyOptions>(
  {
    cookie: text("a cookie name: letters, digits and any of !#$%&'*+-.^_`|~", (name) => TOKEN.test(name)),
    secret: required(mustSecretly(
      (secret) => typeof secret === "string" && secret.length >= MIN_SECRET_LENGTH,
      `a text of at least ${MIN_SECRET_LENGTH} characters, which signs the cookies (openssl rand -hex 16 makes one)`,
    )),
    maxAge: DURATION_ABOVE_0,
    path: text(
      'a text that begins with "/" and has no ";"',
      (path) => path.startsWith("/") && ATTRIBUTE.test(path),
    ),
    domain: text("a host name", (domain) => ATTRIBUTE.test(domain)),
    sameSite: word(["Strict", "Lax", "None"]),
    secure: FLAG,
    keepWhileDraining: FLAG,
  },
  `an object with "secret", a text of at least ${MIN_SECRET_LENGTH} characters`,
  {
    check({ sameSite, secure }, report) {
      if (sameSite !== "None" || secure !== false) return;
      report('must not be false where "sameSite" is "None": browsers drop such a cookie', "secure");
    },
  },
);

/** Adds the defaults to valid options. */
export function resolveSticky(options: StickyOptions): ResolvedSticky {
  const { cookie = "lbproxy", secret, maxAge, path = "/", domain = null, sameSite = "Lax" } = options;
  const { secure = sameSite === "None" ? true : null, keepWhileDraining = false } = options;
  return Object.freeze({
    cookie,
    secret,
    maxAgeSeconds: maxAge === undefined ? null : Math.ceil(parseDuration(maxAge)! / 1000),
    path,
    domain,
    sameSite,
    secure,
    keepWhileDraining,
  });
}

/** The cookie for one server. */
interface ServerCookie {
  readonly server: Server;
  readonly value: string;
  /** `Set-Cookie` for a request in plain text, and for one over TLS. */
  readonly setCookie: readonly [string, string];
}

/**
 * Finds the server of a client by the value of its cookie.
 *
 * The value is a MAC of the server's address: without the secret, it cannot be forged, and does not reveal the address.
 * Values are computed when servers are added, so a request costs one lookup.
 */
export class StickySessions {
  readonly #pool: Pool;
  readonly #options: ResolvedSticky;
  #byValue = new Map<string, ServerCookie>();
  #byServer = new Map<Server, ServerCookie>();
  #membership = -1;

  /** Makes the sticky sessions of a pool; they follow its changes. */
  constructor(pool: Pool, options: ResolvedSticky) {
    this.#pool = pool;
    this.#options = options;
  }

  /** Name of the cookie. */
  get cookie(): string {
    return this.#options.cookie;
  }

  /** The server of the client's cookie, if it is eligible for this request; `undefined` for forged and outdated values. */
  find({ session, exclude }: PickRequest): Server | undefined {
    if (session === undefined || session === null) return undefined;
    this.#refresh();
    const server = this.#byValue.get(session)?.server;
    if (server === undefined || exclude?.includes(server)) return undefined;
    return ineligibility(server, this.#options.keepWhileDraining) === null ? server : undefined;
  }

  /** Whether this cookie value belongs to this server. */
  isOf(session: string | null | undefined, server: Server): boolean {
    this.#refresh();
    return session !== undefined && session !== null && this.#byServer.get(server)?.value === session;
  }

  /**
   * The value of `Set-Cookie` for a server; `null` if the server is not in the pool.
   *
   * @param overTls whether the request arrived over TLS
   */
  setCookieFor(server: Server, overTls: boolean): string | null {
    this.#refresh();
    return this.#byServer.get(server)?.setCookie[overTls ? 1 : 0] ?? null;
  }

  #refresh(): void {
    const { membership, servers } = this.#pool;
    if (this.#membership === membership) return;
    const known = this.#byServer;
    this.#byServer = new Map(servers.map((server) => [server, known.get(server) ?? this.#issue(server)]));
    this.#byValue = new Map(Array.from(this.#byServer.values(), (each) => [each.value, each]));
    this.#membership = membership;
  }

  #issue(server: Server): ServerCookie {
    const mac = createHmac("sha256", this.#options.secret);
    const value = mac.update(`${this.#pool.name}\n${server.id}`).digest("base64url");
    return { server, value, setCookie: [this.#write(value, false), this.#write(value, true)] };
  }

  #write(value: string, overTls: boolean): string {
    const { cookie: name, maxAgeSeconds, path, domain, sameSite, secure } = this.#options;
    const headers = new Headers();
    setCookie(headers, {
      name,
      value,
      path,
      sameSite,
      httpOnly: true,
      secure: secure ?? overTls,
      ...(maxAgeSeconds === null ? {} : { maxAge: maxAgeSeconds }),
      ...(domain === null ? {} : { domain }),
    });
    return headers.get("set-cookie")!;
  }
}
