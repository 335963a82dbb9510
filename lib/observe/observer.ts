/** The observer, which receives events and access log entries, and the entries. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { LogLevel, ProxyEvent } from "./events.ts";

/**
 * Receives events and access log entries.
 *
 * Both functions must return at once: they are called during requests. Errors and rejections are written to `stderr`
 * the first time.
 */
export interface Observer {
  /** Whether {@linkcode Observer.access} is used; `false` saves making the entries. */
  readonly wantsAccess: boolean;
  /** Receives an event. */
  event(event: ProxyEvent): void;
  /** Receives the entry of a finished request. */
  access(entry: AccessEntry): void;
}

/** Ignores everything; for an embedded proxy without a log. */
export const silentObserver: Observer = Object.freeze({
  wantsAccess: false,
  event: () => {},
  access: () => {},
});

/** An observer of a user: its errors do not affect requests. */
export class GuardedObserver implements Observer {
  readonly #observer: Observer;
  readonly #failed: (error: unknown) => void;

  constructor(observer: Observer) {
    let reported = false;
    this.#observer = observer;
    this.#failed = (error) => {
      if (!reported) tellStrayError("observer", error);
      reported = true;
    };
  }

  get wantsAccess(): boolean {
    return this.#observer.wantsAccess;
  }

  event(event: ProxyEvent): void {
    callAside(() => this.#observer.event(event), this.#failed);
  }

  /** Like {@linkcode event}, but without allocating a function per request. */
  access(entry: AccessEntry): void {
    try {
      const result: unknown = this.#observer.access(entry);
      if (result instanceof Promise) result.catch(this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }
}

// Log messages of filters.

/** Writes to the proxy's log; each line has the id of the request. */
export class RequestLog {
  readonly #observer: Observer;
  readonly #request: { readonly requestId: string };

  /** @internal The class of `ctx.log`. */
  constructor(observer: Observer, request: { readonly requestId: string }) {
    this.#observer = observer;
    this.#request = request;
  }

  /** Logs details for troubleshooting. */
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("debug", message, fields);
  }

  /** Logs information. */
  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("info", message, fields);
  }

  /** Logs a problem that an operator should check. */
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("warn", message, fields);
  }

  /** Logs an error that must be fixed. */
  error(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("error", message, fields);
  }

  #write(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const { requestId } = this.#request;
    this.#observer.event({ kind: "request_log", level, requestId, message, fields });
  }
}

/** One finished request; the proxy fills it once, after the last byte. */
export interface AccessEntry {
  /** Id from `requestId()`, otherwise the number of the request, with workers behind that of its process (`3-1k`). */
  readonly requestId: string;
  /** Id of the trace of the request; `null` without one. */
  readonly traceId: string | null;
  /** Address of the client; `""` on a unix socket. */
  readonly clientIp: string;
  /** Address of the other side of the connection: a trusted proxy in front, or the client. */
  readonly peerIp: string;
  /** Method of the client's request; `""` if the request could not be read. */
  readonly method: string;
  /** Host of the client's request. */
  readonly host: string;
  /** Path and query as received, not normalised; bytes above 0x7F percent-encoded, values of secret keys redacted. */
  readonly target: string;
  /** `"HTTP/1.1"`, `"HTTP/1.0"` or `"HTTP/2"`. */
  readonly protocol: string;
  /** TLS version, such as `"TLSv1.3"`; `null` without TLS, or if the runtime does not provide it. */
  readonly tlsVersion: string | null;
  /** The `Referer` field; `null` without one. */
  readonly referer: string | null;
  /** The `User-Agent` field; `null` without one. */
  readonly userAgent: string | null;
  /** Request fields listed in `fields`, by name in lower case; missing ones are absent. */
  readonly headers: Readonly<Record<string, string>>;
  /** Status of the response; 499 if the client disconnected before. */
  readonly status: number;
  /** Name of the matched route; `null` without routes, or if none matched. */
  readonly route: string | null;
  /** Address of the server of the last attempt, as configured; `null` without an attempt. */
  readonly server: string | null;
  /** Name of that server's pool; `null` without a server, `""` for a server named directly by a filter. */
  readonly pool: string | null;
  /** Time from the arrival of the request to the last byte of the response. */
  readonly durationMs: number;
  /** Time in the queue for a server; 0 if it did not wait. */
  readonly queueMs: number;
  /** Time to open the last connection to a server; `null` if an idle connection was used, or none. */
  readonly connectMs: number | null;
  /** Time from the arrival of the request to the head of the server's response; `null` without one. */
  readonly firstByteMs: number | null;
  /** Bytes of content sent. */
  readonly bytesSent: number;
  /** Bytes of content received. */
  readonly bytesReceived: number;
  /** Number of attempts. */
  readonly attempts: number;
  /** All attempts, in order. */
  readonly tries: readonly {
    /** Name of the pool; `""` for a server named directly by a filter. */
    readonly pool: string;
    /** Address as configured. */
    readonly address: string;
    /** Reason of the failure (`connection_refused`, ...); `null` when the server responded. */
    readonly failure: string | null;
  }[];
  /** The decision of each policy that applies to the request. */
  readonly limits: readonly {
    /** The policy. */
    readonly policy: { readonly name: string };
    /** Its decision. */
    readonly outcome: "allowed" | "refused" | "would-refuse";
  }[];
  /** Name of the policy that refused the request; `null` if it was admitted. */
  readonly limitedBy: string | null;
  /** Names of the policies on a dry run that would have refused the request. */
  readonly wouldLimit: readonly string[];
  /** Error type such as `connection_refused`; `null` without a failure. */
  readonly error: string | null;
  /** Why the response ended: `"complete"` if all of it was sent, otherwise an error type such as `client_gone`. */
  readonly end: string;
}

/** An attempt to get a response. */
export type AccessAttempt = AccessEntry["tries"][number];

/** The decision of a policy. */
export type AccessDecision = AccessEntry["limits"][number];
