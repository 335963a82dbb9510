/** The admin listener. */

import type { ResolvedAdmin } from "../config/admin_options.ts";
import { ConfigError } from "../config/config_error.ts";
import { formatListen } from "../config/listen_options.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf, stackOf } from "../core/callback.ts";
import {
  type Certificate,
  certificateFrom,
  CertificateWatch,
  isInFiles,
  readCertificate,
  textsOf,
  tryCertificate,
} from "../engine/certificate.ts";
import { listenError } from "../engine/engine.ts";
import type { AdminTarget } from "./admin_target.ts";
import { Feed } from "./feed.ts";
import { Guard, problem, readTokens } from "./guard.ts";
import { Monitor } from "./monitor.ts";
import { type AdminParts, type Operation, OPERATIONS, runOperation } from "./operations.ts";

/** Maximum size of the content of a change, and how long it may take to arrive, in milliseconds. */
const MAX_BYTES = 16 * 1024;
const CONTENT_TIMEOUT_MS = 10_000;
/** When the listener closes: how long running requests may take, and how long written responses need to be sent. */
const FINISH_MS = 500;
const SEND_MS = 20;
/** Delay before another attempt to open the listener with a new certificate, in milliseconds. */
const REOPEN_AFTER_MS = 1000;

/** The admin API and dashboard over HTTP. Uses `Deno.serve`, because performance does not matter here. */
export class AdminServer implements AsyncDisposable {
  readonly #admin: ResolvedAdmin;
  readonly #parts: AdminParts;
  readonly #guard: Guard;
  #server: Deno.HttpServer;
  #abort = new AbortController();
  readonly #watch: CertificateWatch | null;
  /** Ends the delay before another attempt to open the listener. */
  #stop: () => void = () => {};
  #stopped = false;
  /** Settles when the listener has its new certificate. */
  #renewal: Promise<void> | null = null;
  /** Number of requests without a response. */
  #running = 0;
  /** Called when no such request is left. */
  #onQuiet = (): void => {};

  /**
   * Opens the listener.
   *
   * @throws {ConfigError} when a token or the certificate cannot be read
   * @throws {ListenError} when it cannot listen at the address
   */
  constructor(admin: ResolvedAdmin, target: AdminTarget) {
    this.#admin = admin;
    const { clock, events } = target;
    this.#guard = new Guard({ admin, tokens: readTokens(admin), clock, observer: events });
    const certificate = certificateOf(admin);
    this.#server = this.#serve(admin.listen.port, certificate);
    this.#watch = certificate === null ? null : this.#watchFiles(certificate, clock);
    const monitor = new Monitor(target, admin);
    this.#parts = { target, monitor, feed: new Feed(monitor, events, clock) };
  }

  /** Address of the listener, as `host:port` or `unix:/path`. */
  get address(): string {
    const { addr } = this.#server;
    return formatListen({ ...this.#admin.listen, ...(addr.transport === "tcp" ? { port: addr.port } : {}) });
  }

  #serve(port: number, tls: Certificate | null): Deno.HttpServer {
    const { hostname, unix } = this.#admin.listen;
    const common = {
      signal: (this.#abort = new AbortController()).signal,
      onListen: () => {},
      onError: (error: unknown) => this.#failed(error),
    };
    const handler = async (request: Request, { remoteAddr }: { remoteAddr: Deno.Addr }) => {
      this.#running++;
      try {
        return await this.#handle(request, "hostname" in remoteAddr ? remoteAddr.hostname : "");
      } finally {
        if (--this.#running === 0) this.#onQuiet();
      }
    };
    try {
      if (tls !== null) return Deno.serve({ ...common, hostname, port, ...tls }, handler);
      return unix === undefined
        ? Deno.serve({ ...common, hostname, port }, handler)
        : Deno.serve({ ...common, path: unix }, handler);
    } catch (error) {
      throw listenError(formatListen(this.#admin.listen), error);
    }
  }

  async #handle(request: Request, client: string): Promise<Response> {
    const url = new URL(request.url);
    const { found, path, methods } = findOperation(request.method, url.pathname);
    const caller = await this.#guard.admit(request, found?.access ?? "anyone", client);
    if (caller instanceof Response) return caller;
    if (found === undefined) {
      if (methods.length === 0) return problem(404, "There is nothing at this path");
      return problem(405, `It takes ${methods.join(" and ")}`, { allow: methods.join(", ") });
    }
    const body = found.method === "GET" ? {} : await readJson(request, this.#parts.target.clock);
    if (body instanceof Response) return body;
    const { headers } = request;
    return await runOperation(found, { caller, path, query: url.searchParams, headers, body }, this.#parts);
  }

  #watchFiles(current: Certificate, clock: Clock): CertificateWatch | null {
    const source = this.#admin.tls!;
    return !isInFiles(source) ? null : new CertificateWatch({
      read: () => textsOf(readCertificate(source)),
      current: textsOf(current),
      clock,
      onChange: (texts) => {
        const certificate = certificateFrom(texts);
        tryCertificate(certificate);
        return this.#renewal = this.#renew(certificate);
      },
      onProblem: (problem) => this.#reportCertificate(problem),
    });
  }

  /**
   * Reopens the listener, because the runtime can only set a certificate then: it is closed for a moment. Event streams are
   * cut off, and their clients reconnect.
   */
  async #renew(certificate: Certificate): Promise<void> {
    const { addr } = this.#server as Deno.HttpServer<Deno.NetAddr>;
    await this.#close();
    for (let isReported = false; !this.#stopped; isReported = true) {
      try {
        this.#server = this.#serve(addr.port, certificate);
        return this.#reportCertificate(null);
      } catch (error) {
        if (!isReported) this.#reportClosed(messageOf(error));
      }
      const { promise: over, resolve } = Promise.withResolvers<void>();
      this.#stop = resolve;
      using _timer = this.#parts.target.clock.setTimer(resolve, REOPEN_AFTER_MS);
      await over;
    }
  }

  #reportClosed(message: string): void {
    const { events, running } = this.#parts.target;
    const held = { openDescriptors: null, runningRequests: running };
    events.event({ kind: "listener_error", address: this.address, message, ...held });
  }

  #reportCertificate(problem: string | null): void {
    this.#parts.target.events.event({ kind: "certificate", address: this.address, names: [], problem });
  }

  #failed(error: unknown): Response {
    const { events } = this.#parts.target;
    events.event({ kind: "callback_error", name: "admin", message: messageOf(error), stack: stackOf(error) });
    return problem(500, "It failed; the log says why");
  }

  /** Ends all streams and closes the listener. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { feed, monitor } = this.#parts;
    feed[Symbol.dispose]();
    monitor[Symbol.dispose]();
    this.#watch?.[Symbol.dispose]();
    this.#stopped = true;
    this.#stop();
    await this.#renewal;
    await this.#close();
  }

  /** Closes the listener when running requests have a response, or after a timeout. */
  async #close(): Promise<void> {
    const { clock } = this.#parts.target;
    const { promise: quiet, resolve } = Promise.withResolvers<void>();
    this.#onQuiet = resolve;
    if (this.#running === 0) resolve();
    {
      using _timer = clock.setTimer(resolve, FINISH_MS);
      await quiet;
    }
    await new Promise<void>((left) => clock.setTimer(left, SEND_MS));
    // Not `shutdown()`: it cannot be aborted afterwards, and a client that does not read would block it forever.
    this.#abort.abort();
    await this.#server.finished;
  }
}

/** The certificate and its key as PEM texts; `null` without TLS. */
function certificateOf({ tls }: ResolvedAdmin): Certificate | null {
  if (tls === null) return null;
  try {
    const certificate = readCertificate(tls);
    tryCertificate(certificate);
    return certificate;
  } catch (error) {
    throw new ConfigError("configuration", [{ path: "admin.tls", message: messageOf(error) }]);
  }
}

interface Found {
  /** `undefined` if there is no operation at the path, or none with the method. */
  readonly found: Operation | undefined;
  readonly path: Readonly<Record<string, string>>;
  /** Methods of the path; empty if there is no such path. */
  readonly methods: readonly string[];
}

function findOperation(method: string, pathname: string): Found {
  const wanted = method === "HEAD" ? "GET" : method;
  const methods = new Set<string>();
  for (const operation of OPERATIONS) {
    const path = matchPath(operation.path, pathname);
    if (path === null) continue;
    if (operation.method === wanted) return { found: operation, path, methods: [] };
    methods.add(operation.method);
    if (operation.method === "GET") methods.add("HEAD");
  }
  return { found: undefined, path: {}, methods: [...methods] };
}

/** Compares segment by segment; a variable is one segment, decoded. */
function matchPath(pattern: string, pathname: string): Record<string, string> | null {
  const wanted = pattern.split("/");
  const actual = pathname.split("/");
  if (wanted.length !== actual.length) return null;
  const path: Record<string, string> = {};
  for (const [i, segment] of wanted.entries()) {
    if (!segment.startsWith("{")) {
      if (segment !== actual[i]) return null;
      continue;
    }
    try {
      path[segment.slice(1, -1)] = decodeURIComponent(actual[i]!);
    } catch {
      return null;
    }
  }
  return path;
}

/** Reads the content as a JSON object, or returns a problem response. Empty content counts as `{}`. */
async function readJson(request: Request, clock: Clock): Promise<Record<string, unknown> | Response> {
  const type = request.headers.get("content-type")?.replace(/;[^]*/, "").trim().toLowerCase();
  // A page of another site can send forms and plain text without a CORS preflight, but not JSON.
  if (type !== "application/json") return problem(415, "The content must be application/json");
  if (Number(request.headers.get("content-length") ?? 0) > MAX_BYTES) return tooLarge();
  const text = await readText(request, clock);
  if (text instanceof Response) return text;
  let value: unknown;
  try {
    value = text === "" ? {} : JSON.parse(text);
  } catch {
    return problem(400, "The content is no JSON");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  return problem(400, "The content must be a JSON object");
}

async function readText(request: Request, clock: Clock): Promise<string | Response> {
  const reader = request.body?.getReader();
  if (reader === undefined) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  using _timer = clock.setTimer(() => resolve("late"), CONTENT_TIMEOUT_MS);
  try {
    for (;;) {
      const read = await Promise.race([reader.read(), late]);
      if (read === "late") {
        reader.cancel().catch(() => {});
        return problem(408, "The content took too long", { connection: "close" });
      }
      if (read.done) break;
      size += read.value.length;
      if (size > MAX_BYTES) {
        reader.cancel().catch(() => {});
        return tooLarge();
      }
      chunks.push(read.value);
    }
  } catch {
    return problem(400, "The content broke off");
  }
  return new TextDecoder().decode(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

function tooLarge(): Response {
  return problem(413, `The content must not be larger than ${MAX_BYTES} bytes`, { connection: "close" });
}
