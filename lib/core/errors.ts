/** All failures of requests, as classes with their status. */

import { messageOf } from "./callback.ts";
import { resourceShortage } from "./resource_shortage.ts";

/**
 * The party that caused the failure: the client, an upstream server, or the proxy (its configuration or its filters).
 */
type ErrorSource = "client" | "upstream" | "proxy";

/** Options of a {@linkcode ProxyError}. */
interface ProxyErrorOptions {
  /** Error type of RFC 9209 section 2.3 (`connection_refused`, ...), or another word if it defines none. */
  code: string;
  /** Status of the response to the client; 499 (the client has disconnected) is only logged. */
  status: number;
  source: ErrorSource;
  /** The underlying failure, for the log; never shown to a client. */
  cause?: unknown;
  /** Fields for the response, such as `retry-after`. */
  headers?: Readonly<Record<string, string>>;
}

/** The proxy has no descriptor, port or memory left: 503; neither client nor server has caused it. */
export const OUT_OF_RESOURCES = {
  code: "out_of_resources",
  status: 503,
  source: "proxy",
  headers: { "retry-after": "1" },
} as const satisfies ProxyErrorOptions;

/** An error of the proxy or of its configuration: 500, without details for the client. */
export const INTERNAL = {
  code: "proxy_internal_error",
  status: 500,
  source: "proxy",
} as const satisfies ProxyErrorOptions;

/** A failure of one request; the only kind of error that the request path throws. */
export class ProxyError extends Error {
  /** Name of the class. */
  override readonly name: string = "ProxyError";
  /** Error type of RFC 9209 section 2.3, or another word if it defines none. */
  readonly code: string;
  /** Status of the response to the client; 499 is only logged. */
  readonly status: number;
  /** The party that caused the failure. */
  readonly source: "client" | "upstream" | "proxy";
  /** Fields for the response. */
  readonly headers: Readonly<Record<string, string>>;

  /**
   * Makes a failure with its response.
   *
   * @param message for the log; shown to the client only for the client's mistakes
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

/** The client sent a request that is not forwarded (400, 405, 413, 431). */
export class RequestError extends ProxyError {
  /** Name of the class. */
  override readonly name = "RequestError";
  /**
   * Makes the failure for a mistake of the client.
   *
   * @param message the problem of the request; sent to the client
   */
  constructor(message: string, status = 400, headers: Readonly<Record<string, string>> = {}) {
    super(message, { code: "http_request_error", status, source: "client", headers });
  }
}

/** No server of the pool is available (503). */
export class NoServerError extends ProxyError {
  /** Name of the class. */
  override readonly name = "NoServerError";
  /**
   * Makes the failure for a pool without an available server.
   *
   * @param retryAfterSeconds time until a server may be available again
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

/** The request has returned to the proxy that forwarded it (508). */
export class LoopError extends ProxyError {
  /** Name of the class. */
  override readonly name = "LoopError";
  /** Makes the failure for a request in a loop. */
  constructor() {
    super("The request has been here before: a server leads back to this proxy", {
      code: "proxy_loop_detected",
      status: 508,
      source: "proxy",
    });
  }
}

/** The client disconnected before it received its response; logged as 499. */
export class ClientGoneError extends ProxyError {
  /** Name of the class. */
  override readonly name = "ClientGoneError";
  /**
   * Makes the failure for a disconnected client.
   *
   * @param message how the disconnect was detected
   */
  constructor(message = "The client closed the connection") {
    super(message, { code: "client_gone", status: 499, source: "client" });
  }
}

/** The code of an overloaded proxy. */
export const OVERLOADED = "overloaded";

/** The proxy is overloaded (503). */
export class OverloadError extends ProxyError {
  /** Name of the class. */
  override readonly name = "OverloadError";
  /** @param found the exceeded limit */
  constructor(found: string) {
    super(`The proxy has too much to do: ${found}`, {
      code: OVERLOADED,
      status: 503,
      source: "proxy",
      headers: { "retry-after": "1" },
    });
  }
}

/** The proxy stops: the request arrived too late, or had not ended within the grace period (503). */
export class StoppingError extends ProxyError {
  /** Name of the class. */
  override readonly name = "StoppingError";
  /** Whether the process waits for the end; `false` if only a configuration was replaced. */
  readonly hurried: boolean;

  /** @param hurried `false` if only a configuration was replaced */
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

/** A filter of the configuration threw (500, or 503 if it had no descriptor or port left). */
export class FilterError extends ProxyError {
  /** Name of the class. */
  override readonly name = "FilterError";
  /** The phase in which it threw, such as `requestFilter`. */
  readonly phase: string;
  /**
   * Makes the failure for a function of the configuration.
   *
   * @param phase the phase in which it threw
   * @param cause the thrown value
   */
  constructor(phase: string, cause: unknown) {
    super(`${phase} threw: ${messageOf(cause)}`, {
      ...(resourceShortage(cause) === null ? INTERNAL : OUT_OF_RESOURCES),
      cause,
    });
    this.phase = phase;
  }
}

/** The code of a TLS handshake timeout; RFC 9209 only has one for connections as a whole. */
export const TLS_HANDSHAKE_TIMEOUT = "tls_handshake_timeout";

/** The status for a failure between the proxy and an upstream server. */
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

/**
 * Reason for the failure of an exchange with an upstream server; names of RFC 9209 section 2.3, except
 * `out_of_resources` and `tls_handshake_timeout`.
 */
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
  /** The proxy has no descriptor, port or memory left for a connection; no server has caused it. */
  | "out_of_resources";

/** An exchange with an upstream server failed (502 or 504 by its code, 503 if the proxy lacks resources). */
export class UpstreamError extends ProxyError {
  /** Name of the class. */
  override readonly name = "UpstreamError";
  /** The reason. */
  declare readonly code: UpstreamErrorCode;
  /** Progress of the request; decides whether it may be sent again. */
  readonly phase:
    /** No byte was sent: it may be sent to another server, whatever its method. */
    | "unsent"
    /** Some or all of it may have reached the server, which has not begun to respond. */
    | "sent"
    /** The head of the response was received; the failure was later. */
    | "answered";
  /** Whether the connection had served a request before; a server may close such a connection at any moment. */
  readonly reused: boolean;

  /**
   * Makes the failure for an exchange with a server.
   *
   * @param message the operation and its problem
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
