/** Everything that can go wrong with a request, as classes that know their status. */

import { messageOf } from "./callback.ts";
import { resourceShortage } from "./resource_shortage.ts";

/** Who is to blame: the client, an upstream server, or the proxy (its configuration or its filters). */
type ErrorSource = "client" | "upstream" | "proxy";

/** What a {@linkcode ProxyError} is made of. */
interface ProxyErrorOptions {
  /** Error type of RFC 9209 section 2.3 (`connection_refused`, ...), or a word of ours where it has none. */
  code: string;
  /** Status of the response that the client gets; 499 (nobody is left) is only logged. */
  status: number;
  source: ErrorSource;
  /** The failure underneath, for the log; never shown to a client. */
  cause?: unknown;
  /** Fields for the response, such as `retry-after`. */
  headers?: Readonly<Record<string, string>>;
}

/** The proxy has no descriptor, port or memory left: 503, and nobody else is to blame. */
export const OUT_OF_RESOURCES = {
  code: "out_of_resources",
  status: 503,
  source: "proxy",
  headers: { "retry-after": "1" },
} as const satisfies ProxyErrorOptions;

/** A mistake in the proxy or in its configuration: 500, and the client learns nothing of it. */
export const INTERNAL = {
  code: "proxy_internal_error",
  status: 500,
  source: "proxy",
} as const satisfies ProxyErrorOptions;

/** A failure of one request; the only kind of error that the request path throws. */
export class ProxyError extends Error {
  /** Name of the class. */
  override readonly name: string = "ProxyError";
  /** Error type of RFC 9209 section 2.3, or a word of ours where it has none. */
  readonly code: string;
  /** Status of the response that the client gets; 499 is only logged. */
  readonly status: number;
  /** Who is to blame. */
  readonly source: "client" | "upstream" | "proxy";
  /** Fields for the response. */
  readonly headers: Readonly<Record<string, string>>;

  /**
   * Makes a failure with the response that belongs to it.
   *
   * @param message for the log; only of a client's own mistakes it is shown to the client
   */
  constructor(message: string, options: ProxyErrorOptions) {
    const { code, status, source, cause, headers = {} } = options;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.status = status;
    this.source = source;
    this.headers = headers;
  }
}

/** The client sent something that is not forwarded (400, 405, 413, 431). */
export class RequestError extends ProxyError {
  /** Name of the class. */
  override readonly name = "RequestError";
  /**
   * Makes the failure of a client's mistake.
   *
   * @param message what is wrong with the request; the client is told
   */
  constructor(message: string, status = 400, headers: Readonly<Record<string, string>> = {}) {
    super(message, { code: "http_request_error", status, source: "client", headers });
  }
}

/** No server of the pool can be used now (503). */
export class NoServerError extends ProxyError {
  /** Name of the class. */
  override readonly name = "NoServerError";
  /**
   * Makes the failure of a pool in which no server can be used.
   *
   * @param retryAfterSeconds when there may be a server again
   */
  constructor(message: string, retryAfterSeconds: number) {
    super(message, {
      code: "destination_unavailable",
      status: 503,
      source: "upstream",
      headers: { "retry-after": String(Math.max(1, Math.ceil(retryAfterSeconds))) },
    });
  }
}

/** The request has come back to the proxy that has sent it on (508). */
export class LoopError extends ProxyError {
  /** Name of the class. */
  override readonly name = "LoopError";
  /** Makes the failure of a request that goes in circles. */
  constructor() {
    super("The request has been here before: a server leads back to this proxy", {
      code: "proxy_loop_detected",
      status: 508,
      source: "proxy",
    });
  }
}

/** The client went away before it had its response; logged as 499. */
export class ClientGoneError extends ProxyError {
  /** Name of the class. */
  override readonly name = "ClientGoneError";
  /**
   * Makes the failure of a client that has gone.
   *
   * @param message how it was noticed
   */
  constructor(message = "The client closed the connection") {
    super(message, { code: "client_gone", status: 499, source: "client" });
  }
}

/** The code of a proxy that has too much to do. */
export const OVERLOADED = "overloaded";

/** The proxy has too much to do (503). */
export class OverloadError extends ProxyError {
  /** Name of the class. */
  override readonly name = "OverloadError";
  /** @param found what is too much */
  constructor(found: string) {
    super(`The proxy has too much to do: ${found}`, {
      code: OVERLOADED,
      status: 503,
      source: "proxy",
      headers: { "retry-after": "1" },
    });
  }
}

/** The proxy stops: the request came too late, or had not ended within the grace period (503). */
export class StoppingError extends ProxyError {
  /** Name of the class. */
  override readonly name = "StoppingError";
  /** Whether the process waits for the end; it does not when only a configuration was replaced. */
  readonly hurried: boolean;

  /** @param hurried `false` when only a configuration was replaced */
  constructor(message: string, hurried = true) {
    super(message, {
      code: "proxy_internal_error",
      status: 503,
      source: "proxy",
      headers: { "retry-after": "1", connection: "close" },
    });
    this.hurried = hurried;
  }
}

/** A filter of the configuration threw (500, or 503 when it had no descriptor or port left). */
export class FilterError extends ProxyError {
  /** Name of the class. */
  override readonly name = "FilterError";
  /** The phase in which it threw, such as `requestFilter`. */
  readonly phase: string;
  /**
   * @param phase in which it threw
   * @param cause what it threw
   */
  /** Makes the failure of a function of the configuration. */
  constructor(phase: string, cause: unknown) {
    super(`${phase} threw: ${messageOf(cause)}`, {
      ...(resourceShortage(cause) === null ? INTERNAL : OUT_OF_RESOURCES),
      cause,
    });
    this.phase = phase;
  }
}

/** The code of a TLS handshake that took too long; RFC 9209 has one for connections as a whole. */
export const TLS_HANDSHAKE_TIMEOUT = "tls_handshake_timeout";

/** The status that a failure between the proxy and an upstream server gives. */
function upstreamStatus(code: UpstreamErrorCode): number {
  switch (code) {
    case "dns_timeout":
    case "connection_timeout":
    case TLS_HANDSHAKE_TIMEOUT:
    case "http_response_timeout":
      return 504;
    default:
      return 502;
  }
}

/** Why an exchange with an upstream server failed; names of RFC 9209 section 2.3, except `out_of_resources` and `tls_handshake_timeout`. */
export type UpstreamErrorCode =
  | "dns_error"
  | "dns_timeout"
  | "connection_refused"
  | "connection_terminated"
  | "connection_timeout"
  | "destination_ip_unroutable"
  | "tls_handshake_timeout"
  | "tls_certificate_error"
  | "tls_protocol_error"
  | "http_protocol_error"
  | "http_response_incomplete"
  | "http_response_timeout"
  | "http_request_error"
  /** The proxy has no descriptor, port or memory left for a connection; no server is to blame. */
  | "out_of_resources";

/** An exchange with an upstream server failed (502 or 504 by its code, 503 where the proxy lacks resources). */
export class UpstreamError extends ProxyError {
  /** Name of the class. */
  override readonly name = "UpstreamError";
  /** Why it failed. */
  declare readonly code: UpstreamErrorCode;
  /** How far the request had got; decides whether it may be sent again. */
  readonly phase:
    /** No byte of it left the proxy: it may be sent elsewhere whatever its method. */
    | "unsent"
    /** Some or all of it may have reached the server, which has not begun to respond. */
    | "sent"
    /** The head of the response was received; it failed after. */
    | "answered";
  /** Whether the connection had served a request before; a server may close such a one at any moment. */
  readonly reused: boolean;

  /**
   * Makes the failure of an exchange with a server.
   *
   * @param message what was being done and what was found
   */
  constructor(
    message: string,
    options: {
      code: UpstreamErrorCode;
      phase: UpstreamError["phase"];
      reused?: boolean;
      cause?: unknown;
    },
  ) {
    const { code, phase, reused = false, cause } = options;
    super(
      message,
      code === "out_of_resources"
        ? { ...OUT_OF_RESOURCES, cause }
        : { code, status: upstreamStatus(code), source: "upstream", cause },
    );
    this.phase = phase;
    this.reused = reused;
  }
}
