/** The client's request as a `Request`, for functions of the configuration. */

import type { ClientInfo } from "../filter/request_context.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { type Body, streamOf } from "../http/message.ts";
import type { TrustedProxies } from "../http/trusted_proxies.ts";
import type { ClientStream } from "./client_stream.ts";

/** What a {@linkcode ClientRequest} shows. */
interface ShownRequest {
  readonly method: string;
  /** The URL, whose path is neither decoded nor normalised. */
  readonly url: string;
  readonly headers: HeaderFields;
  /** Aborted when nobody waits for the response any more. */
  readonly signal: () => AbortSignal;
  /** The content; `null` when there is none. */
  readonly body: Body | null;
  /** The runtime's own, for a client that offers to switch protocols; `null` otherwise. */
  readonly native: Request | null;
}

/** Methods that `Request` refuses. */
const REFUSED = /^(?:connect|trace|track)$/i;

/**
 * A `Request` that says what goes to the server: the target as it came, and each field once, as everybody else sees it.
 *
 * Its content is the client's: a filter that reads it takes it away from the server, unless it reads a clone.
 */
export class ClientRequest extends Request {
  readonly #shown: ShownRequest;
  #cloned = false;

  constructor(shown: ShownRequest) {
    const { method, url, headers, body } = shown;
    const init: RequestInit = {
      method: REFUSED.test(method) ? "GET" : method,
      headers: joinedCookies(headers),
      redirect: "manual",
    };
    if (body !== null && method !== "GET" && method !== "HEAD") init.body = streamOf(body);
    super(URL.canParse(url) ? url : "http://localhost/", init);
    this.#shown = shown;
    if (shown.native !== null) becomeUpgradable(this, shown.native);
  }

  override get method(): string {
    return this.#shown.method;
  }

  override get url(): string {
    return this.#shown.url;
  }

  override get signal(): AbortSignal {
    return this.#shown.signal();
  }

  override clone(): Request {
    this.#cloned = true;
    const clone = super.clone();
    const { method, url } = this.#shown;
    Object.defineProperties(clone, { method: { value: method }, url: { value: url } });
    return clone;
  }

  /** Whether a function has read the content, or made a copy that needs it too: it has to be taken from here then. */
  get touched(): boolean {
    return this.#cloned || this.bodyUsed || (this.body?.locked ?? false);
  }
}

/** All lines, cookies in one: `Headers` would join them by a comma, which is no end of a cookie (RFC 6265 section 4.2.1). */
function joinedCookies(headers: HeaderFields): [string, string][] {
  const lines = [...headers];
  if (lines.filter(([name]) => name === "cookie").length < 2) return lines;
  return [...lines.filter(([name]) => name !== "cookie"), ["cookie", headers.get("cookie")!]];
}

/** `Deno.upgradeWebSocket()` finds the connection by what the runtime keeps inside of its own requests (Deno 2.9.6). */
function becomeUpgradable(request: Request, native: Request): void {
  for (const key of Object.getOwnPropertySymbols(native)) {
    if (key.description === "request") Reflect.set(request, key, Reflect.get(native, key));
  }
}

// Finds out who asks: the peer of the connection, or the client that a trusted proxy names.

/** Who asks, and how. */
export interface Identity {
  readonly client: ClientInfo;
  /** Address of the other end of the connection; `""` on a unix socket. */
  readonly peerIp: string;
  /** Scheme of the connection. */
  readonly peerScheme: string;
  /** Scheme that the client used. */
  readonly scheme: string;
  /** Host that the client asked a trusted proxy for; `null` when there is no such word. */
  readonly forwardedHost: string | null;
  /** What a trusted proxy says in `X-Forwarded-For`; `null` when nothing counts. */
  readonly forwardedFor: string | null;
  /** What a trusted proxy says in `Forwarded`; `null` when nothing counts. */
  readonly forwarded: string | null;
}

/** Looks at the peer, and at what it says of its own client when it is trusted. */
export function identifyClient(trusted: TrustedProxies | null, stream: ClientStream): Identity {
  const { peerIp, peerPort, certificate, listener: { scheme } } = stream;
  if (trusted === null || !trusted.trusts(peerIp)) {
    return {
      client: { ip: peerIp, port: peerPort, certificate },
      peerIp,
      peerScheme: scheme,
      scheme,
      forwardedHost: null,
      forwardedFor: null,
      forwarded: null,
    };
  }
  const found = trusted.ask(peerIp, stream.headers);
  const byForwarded = trusted.field === "forwarded";
  return {
    client: { ip: found.clientIp, port: found.clientIp === peerIp ? peerPort : 0, certificate },
    peerIp,
    peerScheme: scheme,
    scheme: found.scheme ?? scheme,
    forwardedHost: found.host,
    forwardedFor: byForwarded ? null : found.said,
    forwarded: byForwarded ? found.said : null,
  };
}
