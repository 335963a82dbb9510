/** Clients that stay with the server that answered them first. */

import { createHmac } from "node:crypto";
import { setCookie } from "@std/http/cookie";
import { ineligibility } from "../upstream/eligibility.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type { PickRequest } from "./algorithm.ts";
import type { ResolvedSticky } from "./sticky_options.ts";

/** What a client carries for one server, made once for each. */
interface Ticket {
  readonly server: Server;
  readonly value: string;
  /** `Set-Cookie` for a client that came in plain text, and for one that came by TLS. */
  readonly setCookie: readonly [string, string];
}

/**
 * Knows servers by the value of a cookie.
 *
 * The value is a MAC of the server's address: whoever does not know the secret can neither make one nor learn an address
 * from it, and since there is one for each server they are all made when servers come. A request costs one look-up.
 */
export class StickySessions {
  readonly #pool: Pool;
  readonly #options: ResolvedSticky;
  #byValue = new Map<string, Ticket>();
  #byServer = new Map<Server, Ticket>();
  #membership = -1;

  /** Makes it for the servers of a pool, whatever becomes of them. */
  constructor(pool: Pool, options: ResolvedSticky) {
    this.#pool = pool;
    this.#options = options;
  }

  /** Name of the cookie. */
  get cookie(): string {
    return this.#options.cookie;
  }

  /** The server that a request belongs to, when it may be sent there; forged and stale values belong to none. */
  find({ session, exclude }: PickRequest): Server | undefined {
    if (session === undefined || session === null) return undefined;
    this.#refresh();
    const server = this.#byValue.get(session)?.server;
    if (server === undefined || exclude?.includes(server)) return undefined;
    return ineligibility(server, this.#options.keepWhileDraining) === null ? server : undefined;
  }

  /** Whether this value is the one of that server. */
  isOf(session: string | null | undefined, server: Server): boolean {
    this.#refresh();
    return session !== undefined && session !== null && this.#byServer.get(server)?.value === session;
  }

  /**
   * The field `Set-Cookie` that ties a client to a server; `null` when the server is no member any more.
   *
   * @param overTls whether the client came by TLS
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
    this.#byValue = new Map(Array.from(this.#byServer.values(), (ticket) => [ticket.value, ticket]));
    this.#membership = membership;
  }

  #issue(server: Server): Ticket {
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
