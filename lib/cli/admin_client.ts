/** Client of the admin API of a running proxy. */

import type { Status } from "../admin/status.ts";
import { parseAdminListen } from "../config/admin_options.ts";
import { messageOf } from "../core/callback.ts";
import { readVariable, UsageError } from "./io.ts";

/** Address and token of the admin listener, from the command line. */
export interface AdminAccess {
  /** `null`: the address in the environment, or `127.0.0.1:6189`. */
  readonly address: string | null;
  readonly token: string | null;
  readonly tokenFile: string | null;
  /** File with the CA certificate for the listener; `null`: the CA certificates of the system. */
  readonly caFile: string | null;
}

/** Environment variables. */
const ADDRESS_VARIABLE = "LBPROXY_ADMIN";
const TOKEN_VARIABLE = "LBPROXY_ADMIN_TOKEN";
const CA_VARIABLE = "LBPROXY_ADMIN_CA";

/** How long the listener may take to respond; a reload takes until the servers of the new configuration are checked. */
const RESPONSE_MS = 10_000;
const CHANGE_MS = 300_000;

/** The admin listener refuses a request, or cannot be reached. */
export class AdminError extends Error {
  override readonly name = "AdminError";
}

/** Sends requests to one admin listener. */
export class AdminClient implements Disposable {
  /** Address of the listener, for messages. */
  readonly address: string;
  readonly #base: string;
  readonly #token: string | null;
  readonly #client: Deno.HttpClient | null;
  readonly #responseMs: number;
  readonly #changeMs: number;

  /**
   * @param limits how long a response, and the response to a change, may take
   * @throws {UsageError} when the address is invalid, or a file cannot be read
   */
  constructor(
    { address, token, tokenFile, caFile }: AdminAccess,
    { responseMs = RESPONSE_MS, changeMs = CHANGE_MS }: { responseMs?: number; changeMs?: number } = {},
  ) {
    this.#responseMs = responseMs;
    this.#changeMs = changeMs;
    this.address = address ?? readVariable(ADDRESS_VARIABLE) ?? "127.0.0.1:6189";
    this.#token = token ?? (tokenFile === null ? readVariable(TOKEN_VARIABLE) : readFile(tokenFile, "token"));
    const ca = caFile ?? readVariable(CA_VARIABLE);
    if (/^https?:\/\//.test(this.address)) {
      this.#base = this.address.replace(/\/+$/, "");
      this.#client = ca === null ? null : Deno.createHttpClient({ caCerts: [readFile(ca, "certificate")] });
      return;
    }
    const place = parseAdminListen(/^\d+$/.test(this.address) ? Number(this.address) : this.address);
    if (place === undefined) {
      throw new UsageError(
        `The admin listener must be "host:port", "unix:/path", a port or a URL, received "${this.address}"`,
      );
    }
    const { hostname, port, unix } = place;
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    this.#base = unix === undefined ? `http://${host}:${port}` : "http://localhost";
    this.#client = unix === undefined
      ? null
      : Deno.createHttpClient({ proxy: { transport: "unix", path: unix } });
  }

  /** The state of the proxy. */
  status(): Promise<Status> {
    return this.get("/status") as Promise<Status>;
  }

  /**
   * Requests a document.
   *
   * @throws {AdminError} when the listener refuses, or cannot be reached
   */
  async get(path: string): Promise<unknown> {
    return await this.#request(path, { signal: AbortSignal.timeout(this.#responseMs) });
  }

  /** Opens the stream of server-sent events. */
  async events(signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const start = new AbortController();
    const timeout = AbortSignal.timeout(this.#responseMs);
    const onTimeout = (): void => start.abort(timeout.reason);
    timeout.addEventListener("abort", onTimeout, { once: true });
    try {
      return (await this.#fetch("/events", { signal: AbortSignal.any([signal, start.signal]) })).body!;
    } finally {
      timeout.removeEventListener("abort", onTimeout);
    }
  }

  /**
   * Makes a change, and returns the listener's description of it.
   *
   * @throws {AdminError} when it cannot be made
   */
  async post(path: string, body: Readonly<Record<string, unknown>>): Promise<{ readonly done: string }> {
    const headers = { "content-type": "application/json" };
    const signal = AbortSignal.timeout(this.#changeMs);
    const made = await this.#request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
    return made as { readonly done: string };
  }

  async #request(path: string, init: RequestInit): Promise<unknown> {
    const response = await this.#fetch(path, init);
    try {
      return await response.json();
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.#token !== null) headers.set("authorization", `Bearer ${this.#token}`);
    let response: Response;
    try {
      const client = this.#client === null ? {} : { client: this.#client };
      response = await fetch(`${this.#base}${path}`, { ...init, headers, ...client });
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      throw this.#unreachable(error);
    }
    if (response.ok) return response;
    const { detail = `status ${response.status}` } = await response.json().catch(() => ({})) as {
      detail?: string;
    };
    const hint = response.status === 401 && this.#token === null
      ? `; set ${TOKEN_VARIABLE}, or give --token-file`
      : "";
    throw new AdminError(`${detail}${hint}`);
  }

  #unreachable(cause: unknown): AdminError {
    return new AdminError(`Cannot reach the admin listener at ${this.address}: ${reasonOf(cause)}`, {
      cause,
    });
  }

  [Symbol.dispose](): void {
    this.#client?.close();
  }
}

function readFile(path: string, what: "token" | "certificate"): string {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch (error) {
    throw new UsageError(`The file of the ${what} is ${path}, which cannot be read: ${messageOf(error)}`);
  }
}

/** The reason why a request failed: `fetch` has it only in the cause of its error, or in a long message. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const message = messageOf(cause);
  const hint = HINTS.find(([pattern]) => pattern.test(message));
  if (hint !== undefined) return hint[1];
  const reason = error instanceof SyntaxError
    ? "what is there is none"
    : error instanceof DOMException && error.name === "TimeoutError"
    ? "it does not respond"
    : message.replace(
      /^error sending request (?:from \S+ )?for (?:url )?(?:\([^)]*\)|\S+ \([^)]*\)): (?:client error \(\w+\): )?/,
      "",
    );
  return `${reason}. Run the proxy with --admin, and say by --admin ADDR or ${ADDRESS_VARIABLE} where that is`;
}

/** Explanations of TLS errors, by patterns of the runtime's messages. */
const HINTS: readonly (readonly [RegExp, string])[] = [
  // `openssl req -x509` makes such a certificate by default.
  [
    /CaUsedAsEndEntity/,
    "its certificate is that of an authority (CA:TRUE), which no server may show; make one with CA:FALSE",
  ],
  [
    /UnknownIssuer/,
    `its certificate is by an authority that the system does not know; give that with --ca FILE or ${CA_VARIABLE}`,
  ],
  [/not valid for name|NotValidForName/, "its certificate is not for this name; use one that it is for"],
  [/certificate expired|: Expired/, "its certificate has expired"],
  [/InvalidContentType/, "it speaks plain HTTP; use http:// or no scheme"],
  [/invalid HTTP version/, "it does not speak plain HTTP; if it has TLS, use --admin https://HOST:PORT"],
];
