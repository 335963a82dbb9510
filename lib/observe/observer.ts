/** The observer, which gets events and access-log entries, and what an entry holds. */

import { callAside, tellStrayError } from "../core/callback.ts";
import type { LogLevel, ProxyEvent } from "./events.ts";

/**
 * Receives events and access log entries.
 *
 * Both functions return at once: they are called in the middle of requests. What one throws, or rejects with, is written to
 * `stderr` the first time.
 */
export interface Observer {
  /** Whether {@linkcode Observer.access} does anything; `false` saves making the entries. */
  readonly wantsAccess: boolean;
  /** Something happened that is not an ordinary request. */
  event(event: ProxyEvent): void;
  /** A request is over. */
  access(entry: AccessEntry): void;
}

/** Listens to nothing; for a proxy that is embedded without a log. */
export const silentObserver: Observer = Object.freeze({
  wantsAccess: false,
  event: () => {},
  access: () => {},
});

/** An observer of a user's; whatever becomes of it, requests go on. */
export class GuardedObserver implements Observer {
  readonly #observer: Observer;
  readonly #failed: (error: unknown) => void;

  constructor(observer: Observer) {
    let told = false;
    this.#observer = observer;
    this.#failed = (error) => {
      if (!told) tellStrayError("observer", error);
      told = true;
    };
  }

  get wantsAccess(): boolean {
    return this.#observer.wantsAccess;
  }

  event(event: ProxyEvent): void {
    callAside(() => this.#observer.event(event), this.#failed);
  }

  /** As the others, without a function a request. */
  access(entry: AccessEntry): void {
    try {
      const result: unknown = this.#observer.access(entry);
      if (result instanceof Promise) result.catch(this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }
}

// What filters write into the log.

/** Writes into the proxy's log; each line has the id of the request. */
export class RequestLog {
  readonly #observer: Observer;
  readonly #request: { readonly requestId: string };

  /** @internal `ctx.log` is one. */
  constructor(observer: Observer, request: { readonly requestId: string }) {
    this.#observer = observer;
    this.#request = request;
  }

  /** Something that one looks for. */
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("debug", message, fields);
  }

  /** Something worth knowing. */
  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("info", message, fields);
  }

  /** Something that an operator should check. */
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write("warn", message, fields);
  }

  /** Something that has to be mended. */
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
  /** The id that `requestId()` has given the request, otherwise its number in its process. */
  readonly requestId: string;
  /** Id of the trace that the request is part of; `null` when it is part of none. */
  readonly traceId: string | null;
  /** Address of the client; `""` when it has none (unix socket). */
  readonly clientIp: string;
  /** Address of the other end of the connection: that of a trusted proxy in front, or of the client. */
  readonly peerIp: string;
  /** Method of the client's request; `""` when nothing of it could be read. */
  readonly method: string;
  /** Host of the client's request. */
  readonly host: string;
  /** Path and query as received, not normalised; bytes above 0x7F percent-encoded, values of secret keys redacted. */
  readonly target: string;
  /** `"HTTP/1.1"`, `"HTTP/1.0"` or `"HTTP/2"`. */
  readonly protocol: string;
  /** Version of TLS, such as `"TLSv1.3"`; `null` without it, or where the runtime does not tell. */
  readonly tlsVersion: string | null;
  /** Where the client says that it comes from; `null` when it does not. */
  readonly referer: string | null;
  /** What the client says that it is; `null` when it does not. */
  readonly userAgent: string | null;
  /** Fields of the request that `fields` asks for, by name in lower case; those that are not there are left out. */
  readonly headers: Readonly<Record<string, string>>;
  /** Status that was sent; 499 when the client went away before. */
  readonly status: number;
  /** Name of the route that took the request; `null` where there are no routes, or none took it. */
  readonly route: string | null;
  /** Address of the server of the last attempt, as configured; `null` when none was. */
  readonly server: string | null;
  /** Name of that server's pool; `null` without a server, `""` for one that a filter named outright. */
  readonly pool: string | null;
  /** From the arrival of the request to the last byte of the response. */
  readonly durationMs: number;
  /** How long it waited for room at a server; 0 when it did not. */
  readonly queueMs: number;
  /** How long the last connection to a server took; `null` when one that was kept was used, or none. */
  readonly connectMs: number | null;
  /** From the arrival of the request to the head of the server's response; `null` without one. */
  readonly firstByteMs: number | null;
  /** Bytes of content that were sent. */
  readonly bytesSent: number;
  /** Bytes of content that have come. */
  readonly bytesReceived: number;
  /** How often a server was tried. */
  readonly attempts: number;
  /** Every try, in order. */
  readonly tries: readonly {
    /** Name of the pool; `""` for a server that a filter named outright. */
    readonly pool: string;
    /** Address as configured. */
    readonly address: string;
    /** Reason of the failure (`connection_refused`, ...); `null` when the server responded. */
    readonly failure: string | null;
  }[];
  /** What each policy of the limiter decided that applies to the request. */
  readonly limits: readonly {
    /** Which policy. */
    readonly policy: { readonly name: string };
    /** What it decided. */
    readonly outcome: "allowed" | "refused" | "would-refuse";
  }[];
  /** Name of the policy that refused the request; `null` when it was let through. */
  readonly limitedBy: string | null;
  /** Names of the policies that would have refused the request, were they not on a dry run. */
  readonly wouldLimit: readonly string[];
  /** Error type such as `connection_refused`; `null` when nothing failed. */
  readonly error: string | null;
  /** Why the response ended: `"complete"` when all of it was sent, otherwise an error type such as `client_gone`. */
  readonly end: string;
}

/** A try to get a response. */
export type AccessAttempt = AccessEntry["tries"][number];

/** What a policy said. */
export type AccessDecision = AccessEntry["limits"][number];
