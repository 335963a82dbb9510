/** The client's request as a `Request`, for functions of the configuration. */

import { type HeaderFields, isToken } from "../http/header_fields.ts";
import { type Body, streamOf } from "../http/message.ts";

/** The properties of a {@linkcode ClientRequest}. */
interface ShownRequest {
  readonly method: string;
  /** The URL, whose path is neither decoded nor normalised. */
  readonly url: string;
  readonly headers: HeaderFields;
  /** Aborted when the response is no longer wanted. */
  readonly signal: () => AbortSignal;
  /** The content; `null` when there is none. */
  readonly body: Body | null;
  /** The request of the runtime, when the client offers to switch protocols; otherwise `null`. */
  readonly native: Request | null;
}

/** Methods that `Request` refuses; a malformed request may have any method. */
function isRefused(method: string): boolean {
  return /^(?:connect|trace|track)$/i.test(method) || !isToken(method);
}

/**
 * A `Request` that shows what the server gets: the received target, and each field once, as other parts of the proxy
 * see it.
 *
 * Its content is the client's: a filter that reads it takes it away from the server, unless it reads a clone.
 */
export class ClientRequest extends Request {
  readonly #shown: ShownRequest;
  #cloned = false;

  constructor(shown: ShownRequest) {
    const { method, url, headers, body } = shown;
    const init: RequestInit = {
      method: isRefused(method) ? "GET" : method,
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

  /** Whether a function has read the content or cloned the request: then the content must be read from here. */
  get touched(): boolean {
    return this.#cloned || this.bodyUsed || (this.body?.locked ?? false);
  }
}

/**
 * All lines, with cookies in one line: `Headers` would join them by a comma, which is no separator of cookies (RFC
 * 6265 section 4.2.1).
 */
function joinedCookies(headers: HeaderFields): [string, string][] {
  const lines = [...headers];
  if (lines.filter(([name]) => name === "cookie").length < 2) return lines;
  return [...lines.filter(([name]) => name !== "cookie"), ["cookie", headers.get("cookie")!]];
}

/** `Deno.upgradeWebSocket()` finds the connection by an internal property of the runtime's requests (Deno 2.9.6). */
function becomeUpgradable(request: Request, native: Request): void {
  for (const key of Object.getOwnPropertySymbols(native)) {
    if (key.description === "request") Reflect.set(request, key, Reflect.get(native, key));
  }
}
