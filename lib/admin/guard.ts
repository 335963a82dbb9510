/** Decides who may ask the admin listener for what. */

import { type AdminToken, MIN_TOKEN_LENGTH, type ResolvedAdmin } from "../config/admin_options.ts";
import { ConfigError, type ConfigProblem } from "../config/config_error.ts";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import { sameDigest } from "../filters/filter_support.ts";
import { problemBody } from "../http/make_response.ts";
import type { Observer } from "../observe/observer.ts";

/** How much an operation asks of who asks for it. */
export type Access = "anyone" | "read" | "change";

/** Who asks. */
export interface Caller {
  /** Name of the token; `null` without one. */
  readonly owner: string | null;
  /** Address; `""` over a unix socket. */
  readonly client: string;
}

/** What the guard goes by. */
interface GuardOptions {
  readonly admin: ResolvedAdmin;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly observer: Observer;
}

/** Requests that may be attacks are told of once in this time. */
const QUIET_MS = 1000;
const CHALLENGE = 'Bearer realm="lbproxy admin"';

/**
 * Checks `Host` (a page of another site may have had its name rebound to this address), `Origin`, and the token.
 *
 * Reads may be open to everybody who reaches the listener; changes always need a token.
 */
export class Guard {
  readonly #options: GuardOptions;
  readonly #hosts: ReadonlySet<string>;
  #refused = 0;
  #toldAt = -Infinity;

  constructor(options: GuardOptions) {
    this.#options = options;
    const { hosts, listen: { hostname } } = options.admin;
    this.#hosts = new Set(["localhost", hostname, ...hosts].map((name) => name.toLowerCase()));
  }

  /** Who asks; or the refusal. */
  async admit(request: Request, access: Access, client: string): Promise<Caller | Response> {
    // HTTP/2, which browsers choose over TLS, has the host in the URL.
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
    // Where there are no tokens, one that is shown all the same takes nothing away.
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

  /** A name that others could give to this address is only good when it is configured; addresses cannot be rebound. */
  #isOwnHost(host: string): boolean {
    const name = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]]+)(?::\d{1,5})?$/.exec(host)?.[1]?.toLowerCase();
    if (name === undefined) return false;
    return name.startsWith("[") || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(name) || this.#hosts.has(name);
  }

  #refuse(client: string, status: number, detail: string, fields: Record<string, string> = {}): Response {
    const { clock, observer } = this.#options;
    this.#refused++;
    const now = clock.now();
    if (now - this.#toldAt >= QUIET_MS) {
      observer.event({ kind: "admin_refusal", client, reason: detail, count: this.#refused });
      this.#toldAt = now;
      this.#refused = 0;
    }
    return problem(status, detail, fields);
  }
}

/** Where a browser says that a request comes from, if it is no page of this listener; `null` when nothing speaks against it. */
function foreignOrigin(headers: Headers, host: string): string | null {
  const origin = headers.get("origin");
  if (origin !== null && origin !== `http://${host}` && origin !== `https://${host}`) {
    return JSON.stringify(origin.slice(0, 100));
  }
  const site = headers.get("sec-fetch-site");
  const navigates = headers.get("sec-fetch-mode") === "navigate";
  // A link on another site may open the page, which then asks for everything by itself.
  if (site === null || site === "same-origin" || site === "none" || navigates) return null;
  return `as Sec-Fetch-Site says: ${JSON.stringify(site.slice(0, 30))}`;
}

// Who may change things, by their tokens.

/** The tokens of an admin listener. */
class Tokens {
  readonly #tokens: readonly (readonly [owner: string, token: string])[];

  constructor(tokens: readonly (readonly [owner: string, token: string])[]) {
    this.#tokens = tokens;
  }

  /** Whether nobody has one. */
  get empty(): boolean {
    return this.#tokens.length === 0;
  }

  /** The owner of a token; `null` when it is nobody's. All are compared, whichever it is. */
  async ownerOf(token: string): Promise<string | null> {
    const matches = await Promise.all(this.#tokens.map(([, secret]) => sameDigest(token, secret)));
    const index = matches.indexOf(true);
    return index < 0 ? null : this.#tokens[index]![0];
  }
}

/**
 * Reads the tokens from their files and from the environment.
 *
 * @throws {ConfigError} when one cannot be had, listing all such
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

/** Lists the tokens that cannot be had. */
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
    // The runtime would ask at the terminal, and wait for somebody who answers.
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

/** Fields of every response: nothing is kept, framed, guessed at or read by other sites. */
const COMMON: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
};

/** Makes a response with the fields that all have. */
export function reply(
  body: BodyInit | null,
  status: number,
  fields: Readonly<Record<string, string>>,
): Response {
  return new Response(body, { status, headers: { ...COMMON, ...fields } });
}

/** A JSON document. */
export function json(value: unknown, status = 200): Response {
  return reply(JSON.stringify(value), status, { "content-type": "application/json" });
}

/** A problem document (RFC 9457). */
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
