/** Asks the admin listener of a proxy that runs. */

import type { Status } from "../admin/status.ts";
import { parseAdminListen } from "../config/admin_options.ts";
import { messageOf } from "../core/callback.ts";
import { readVariable, UsageError } from "./io.ts";

/** Where the admin listener is, and with which token it is asked; as the command line says. */
export interface AdminAccess {
  /** `null`: what the environment says, otherwise `127.0.0.1:6189`. */
  readonly address: string | null;
  readonly token: string | null;
  readonly tokenFile: string | null;
  /** File with the certificate of the authority that the listener's is by; `null`: those of the system count. */
  readonly caFile: string | null;
}

/** Variables of the environment. */
const ADDRESS_VARIABLE = "LBPROXY_ADMIN";
const TOKEN_VARIABLE = "LBPROXY_ADMIN_TOKEN";
const CA_VARIABLE = "LBPROXY_ADMIN_CA";

/** How long the listener may take to respond; a change may wait until the servers of a new configuration are checked. */
const RESPONSE_MS = 10_000;
const CHANGE_MS = 300_000;

/** The listener does not do what it is asked for, or cannot be reached. */
export class AdminError extends Error {
  override readonly name = "AdminError";
}

/** Talks to one admin listener. */
export class AdminClient implements Disposable {
  /** Where it is, for people. */
  readonly address: string;
  readonly #base: string;
  readonly #token: string | null;
  readonly #client: Deno.HttpClient | null;
  readonly #responseMs: number;
  readonly #changeMs: number;

  /**
   * @param limits how long a response may take, and that to a change
   * @throws {UsageError} when the address is none, or a file cannot be read
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
   * Asks for a document.
   *
   * @throws {AdminError} when there is none
   */
  async get(path: string): Promise<unknown> {
    return await this.#ask(path, { signal: AbortSignal.timeout(this.#responseMs) });
  }

  /** Opens the stream of server-sent events. */
  async events(signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const begins = new AbortController();
    const late = AbortSignal.timeout(this.#responseMs);
    const onLate = (): void => begins.abort(late.reason);
    late.addEventListener("abort", onLate, { once: true });
    try {
      return (await this.#fetch("/events", { signal: AbortSignal.any([signal, begins.signal]) })).body!;
    } finally {
      late.removeEventListener("abort", onLate);
    }
  }

  /**
   * Makes a change, and gives what the listener says of it.
   *
   * @throws {AdminError} when it cannot be made
   */
  async post(path: string, body: Readonly<Record<string, unknown>>): Promise<{ readonly done: string }> {
    const headers = { "content-type": "application/json" };
    const signal = AbortSignal.timeout(this.#changeMs);
    const made = await this.#ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
    return made as { readonly done: string };
  }

  async #ask(path: string, init: RequestInit): Promise<unknown> {
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

/** Why there is no connection; `fetch` itself says only that it failed. */
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

/** What failures of TLS come from, by the words of the runtime. */
const HINTS: readonly (readonly [RegExp, string])[] = [
  // What `openssl req -x509` makes unless it is told otherwise.
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
