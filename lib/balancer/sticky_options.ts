/** How clients are tied to servers, as an operator writes it. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";

/** Ties each client to the server that answered it first, by a signed cookie. */
export interface StickyOptions {
  /** Name of the cookie. @default {"lbproxy"} */
  cookie?: string;
  /** Signs the cookie; at least 16 characters, the same in every proxy in front of the same servers. */
  secret: string;
  /** How long clients keep it, in whole seconds; without it, as long as a browser runs. */
  maxAge?: Duration;
  /** Below which path clients send it. @default {"/"} */
  path?: string;
  /** To which hosts clients send it. @default {the host that was asked, alone} */
  domain?: string;
  /** Whether clients send it along from other sites; `"None"` makes it `Secure`. @default {"Lax"} */
  sameSite?: "Strict" | "Lax" | "None";
  /** Whether clients send it over TLS only. @default {whether the client came by TLS} */
  secure?: boolean;
  /** Whether a server that drains goes on serving the clients that it has. @default {false} */
  keepWhileDraining?: boolean;
}

/** How clients are tied to servers, complete. */
export interface ResolvedSticky {
  readonly cookie: string;
  readonly secret: string;
  /** `null` for as long as a browser runs. */
  readonly maxAgeSeconds: number | null;
  readonly path: string;
  readonly domain: string | null;
  readonly sameSite: "Strict" | "Lax" | "None";
  /** `null` for whatever the client came by. */
  readonly secure: boolean | null;
  readonly keepWhileDraining: boolean;
}

/** The least that a secret may have. */
export const MIN_SECRET_LENGTH = 16;

/** The characters of a cookie's name: a token (RFC 6265 section 4.1.1). */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What may stand in `Path` and `Domain`. */
const ATTRIBUTE = /^[\x20-\x3a\x3c-\x7e]+$/;

/** Finds what is wrong with options that may be anything but have the right types; empty when nothing is. */
export function findStickyProblems(
  options: StickyOptions,
): { option: keyof StickyOptions; message: string }[] {
  const { cookie, secret, path, domain, sameSite, secure } = options;
  const problems: { option: keyof StickyOptions; message: string }[] = [];
  if (cookie !== undefined && !TOKEN.test(cookie)) {
    problems.push({
      option: "cookie",
      message: "must be a cookie name: letters, digits and any of !#$%&'*+-.^_`|~",
    });
  }
  if (secret.length < MIN_SECRET_LENGTH) {
    problems.push({ option: "secret", message: `must have at least ${MIN_SECRET_LENGTH} characters` });
  }
  if (path !== undefined && !(path.startsWith("/") && ATTRIBUTE.test(path))) {
    problems.push({ option: "path", message: 'must begin with "/" and have no ";"' });
  }
  if (domain !== undefined && !ATTRIBUTE.test(domain)) {
    problems.push({ option: "domain", message: "must be a host name" });
  }
  if (sameSite === "None" && secure === false) {
    problems.push({
      option: "secure",
      message: 'must not be false where "sameSite" is "None": browsers drop such a cookie',
    });
  }
  return problems;
}

/**
 * Completes the options.
 *
 * @throws {TypeError} when one cannot be used; it lists all of them
 */
export function resolveSticky(options: StickyOptions): ResolvedSticky {
  const { cookie = "lbproxy", secret, maxAge, path = "/", domain = null, sameSite = "Lax" } = options;
  const { secure = sameSite === "None" ? true : null, keepWhileDraining = false } = options;
  const problems = findStickyProblems(options).map(({ option, message }) => `"${option}" ${message}`);
  const maxAgeMs = maxAge === undefined ? null : parseDuration(maxAge);
  if (maxAgeMs === undefined) problems.push(`"maxAge" must be ${DURATION_EXPECTED}`);
  if (problems.length > 0) throw new TypeError(`Cannot resolve sticky: ${problems.join("; ")}`);
  return Object.freeze({
    cookie,
    secret,
    maxAgeSeconds: maxAgeMs === null || maxAgeMs === undefined ? null : Math.ceil(maxAgeMs / 1000),
    path,
    domain,
    sameSite,
    secure,
    keepWhileDraining,
  });
}
