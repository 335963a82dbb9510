/** Decides who may ask the admin listener for what. */

import type { ResolvedAdmin } from "../config/admin_options.ts";
import type { Clock } from "../core/clock.ts";
import type { Observer } from "../observe/observer.ts";
import { problem } from "./replies.ts";
import type { Tokens } from "./tokens.ts";

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
    const host = request.headers.get("host") ?? "";
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
    if (token !== null && owner === null) {
      return this.#refuse(client, 401, "The token is none of admin.tokens", {
        "www-authenticate": `${CHALLENGE}, error="invalid_token"`,
      });
    }
    const open = access === "anyone" || (access === "read" && admin.read === "anyone");
    if (owner === null && !open) {
      if (tokens.empty) {
        return problem(403, "Nothing can be changed here: the configuration has no admin.tokens");
      }
      return problem(401, "It needs a token: Authorization: Bearer TOKEN", { "www-authenticate": CHALLENGE });
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
