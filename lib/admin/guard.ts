/** Access control of the admin listener. */

import { type AdminToken, MIN_TOKEN_LENGTH, type ResolvedAdmin } from "../config/admin_options.ts";
import { ConfigError, type ConfigProblem } from "../config/config_error.ts";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import { sameDigest } from "../filters/filter_support.ts";
import { problemBody } from "../http/make_response.ts";
import type { Observer } from "../observe/observer.ts";

/** The access that an operation requires. */
export type Access = "anyone" | "read" | "change";

/** The sender of a request. */
export interface Caller {
  /** Name of the token; `null` without one. */
  readonly owner: string | null;
  /** Address of the client; `""` over a unix socket. */
  readonly client: string;
}

/** Options of {@linkcode Guard}. */
interface GuardOptions {
  readonly admin: ResolvedAdmin;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly observer: Observer;
}

/** At most one event about refused requests per this interval, in milliseconds. */
const REPORT_INTERVAL_MS = 1000;
const CHALLENGE = 'Bearer realm="lbproxy admin"';

/**
 * Checks `Host` (against DNS rebinding by pages of other sites), `Origin`, and the token.
 *
 * Reads may be open to all clients that reach the listener; changes always require a token.
 */
export class Guard {
  readonly #options: GuardOptions;
  readonly #hosts: ReadonlySet<string>;
  #refused = 0;
  #reportedAt = -Infinity;

  constructor(options: GuardOptions) {
    this.#options = options;
    const { hosts, listen: { hostname } } = options.admin;
    this.#hosts = new Set(["localhost", hostname, ...hosts].map((name) => name.toLowerCase()));
  }

  /** Returns the caller, or the response that refuses the request. */
  async admit(request: Request, access: Access, client: string): Promise<Caller | Response> {
    // With HTTP/2, which browsers use over TLS, the host is only in the URL.
    const ofUrl = this.#options.admin.tls === null ? "" : new URL(request.url).host;
    const host = request.headers.get("host") ?? ofUrl;
    if (!this.#isOwnHost(host)) {
      return this.#refuse(client, 421, `It is not for the host ${JSON.stringify(host.slice(0, 100))}`);
    }
    const foreign = foreignOrigin(request.headers, host);
    if (foreign !== null) return this.#refuse(client, 403, `It comes from another site, ${foreign}`);
    const { admin, tokens } = this.#options;
    const authorization = request.headers.get("authorization");
    const token = authorization === null
      ? null
      : /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1] ?? "";
    const owner = token === null ? null : await tokens.ownerOf(token);
    // If no tokens are configured, a token in the request is ignored.
    if (token !== null && owner === null && !tokens.empty) {
      return this.#refuse(client, 401, "The token is not one of admin.tokens", {
        "www-authenticate": `${CHALLENGE}, error="invalid_token"`,
      });
    }
    const open = access === "anyone" || (access === "read" && admin.read === "anyone");
    if (owner === null && !open) {
      if (tokens.empty) {
        return problem(
          403,
          'Nothing can be changed here: the configuration has no admin.tokens, such as { ops: { env: "LBPROXY_ADMIN_TOKEN" } }',
        );
      }
      return problem(401, "A token is needed: Authorization: Bearer TOKEN", {
        "www-authenticate": CHALLENGE,
      });
    }
    return { owner, client };
  }

  /** Whether the host is an address, or a configured name. Other names could be rebound to this address; addresses cannot. */
  #isOwnHost(host: string): boolean {
    const name = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]]+)(?::\d{1,5})?$/.exec(host)?.[1]?.toLowerCase();
    if (name === undefined) return false;
    return name.startsWith("[") || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(name) || this.#hosts.has(name);
  }

  #refuse(client: string, status: number, detail: string, fields: Record<string, string> = {}): Response {
    const { clock, observer } = this.#options;
    this.#refused++;
    const now = clock.now();
    if (now - this.#reportedAt >= REPORT_INTERVAL_MS) {
      observer.event({ kind: "admin_refusal", client, reason: detail, count: this.#refused });
      this.#reportedAt = now;
      this.#refused = 0;
    }
    return problem(status, detail, fields);
  }
}

/** The foreign origin of a request, as the browser reports it; `null` if the request is from a page of this listener. */
function foreignOrigin(headers: Headers, host: string): string | null {
  const origin = headers.get("origin");
  if (origin !== null && origin !== `http://${host}` && origin !== `https://${host}`) {
    return JSON.stringify(origin.slice(0, 100));
  }
  const site = headers.get("sec-fetch-site");
  const navigates = headers.get("sec-fetch-mode") === "navigate";
  // A link on another site may open the page, which then sends its own requests.
  if (site === null || site === "same-origin" || site === "none" || navigates) return null;
  return `as Sec-Fetch-Site says: ${JSON.stringify(site.slice(0, 30))}`;
}

// Tokens and their owners.

/** The tokens of an admin listener. */
class Tokens {
  readonly #tokens: readonly (readonly [owner: string, token: string])[];

  constructor(tokens: readonly (readonly [owner: string, token: string])[]) {
    this.#tokens = tokens;
  }

  /** Whether there are no tokens. */
  get empty(): boolean {
    return this.#tokens.length === 0;
  }

  /** The owner of a token; `null` if it is unknown. Compares all tokens, so that the time does not reveal the match. */
  async ownerOf(token: string): Promise<string | null> {
    const matches = await Promise.all(this.#tokens.map(([, secret]) => sameDigest(token, secret)));
    const index = matches.indexOf(true);
    return index < 0 ? null : this.#tokens[index]![0];
  }
}

/**
 * Reads the tokens from files and from the environment.
 *
 * @throws {ConfigError} when tokens cannot be read, listing all of them
 */
export function readTokens({ tokens }: ResolvedAdmin): Tokens {
  const problems: ConfigProblem[] = [];
  const read: [string, string][] = [];
  for (const [owner, token] of tokens) {
    const text = readToken(token);
    if (typeof text === "string") read.push([owner, text]);
    else problems.push({ path: `admin.tokens.${owner}`, message: text.problem });
  }
  if (problems.length > 0) throw new ConfigError("configuration", problems);
  return new Tokens(read);
}

/** Lists the tokens that cannot be read. */
export function findTokenProblems(admin: ResolvedAdmin | null): readonly ConfigProblem[] {
  if (admin === null) return [];
  try {
    readTokens(admin);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

function readToken(token: AdminToken): string | { readonly problem: string } {
  if (typeof token === "string") return token;
  const [where, permission, read] = "file" in token
    ? [
      `the file ${JSON.stringify(token.file)}`,
      { name: "read", path: token.file },
      () => Deno.readTextFileSync(token.file),
    ] as const
    : [
      `the variable ${JSON.stringify(token.env)}`,
      { name: "env", variable: token.env },
      () => Deno.env.get(token.env),
    ] as const;
  let text: string | undefined;
  try {
    // Without this check, the runtime would prompt at the terminal and wait.
    if (Deno.permissions.querySync(permission).state !== "granted") {
      throw new Error(`run with --allow-${permission.name}`);
    }
    text = read();
  } catch (error) {
    return { problem: `names ${where}, which cannot be read: ${messageOf(error)}` };
  }
  if (text === undefined) return { problem: `names ${where}, which is not set` };
  const trimmed = text.trim();
  if (trimmed.length >= MIN_TOKEN_LENGTH && /^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
  return {
    problem:
      `names ${where}, whose content must be at least ${MIN_TOKEN_LENGTH} visible characters without spaces`,
  };
}

// Responses of the admin listener.

/** Fields of every response: no caching, framing, content sniffing, or access by other sites. */
const COMMON: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
};

/** Makes a response with the common fields. */
export function reply(
  body: BodyInit | null,
  status: number,
  fields: Readonly<Record<string, string>>,
): Response {
  return new Response(body, { status, headers: { ...COMMON, ...fields } });
}

/** Makes a JSON response. */
export function json(value: unknown, status = 200): Response {
  return reply(JSON.stringify(value), status, { "content-type": "application/json" });
}

/** Makes a problem response (RFC 9457). */
export function problem(
  status: number,
  detail: string,
  fields: Readonly<Record<string, string>> = {},
): Response {
  return reply(problemBody(status, { detail }), status, {
    "content-type": "application/problem+json",
    ...fields,
  });
}
