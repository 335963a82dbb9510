/** Errors as a client sees them. */

import { OUT_OF_RESOURCES, type ProxyError } from "../core/errors.ts";
import { PROXY_NAME } from "./forwarded.ts";

const encoder = new TextEncoder();

/** Reason phrases of the statuses that the proxy makes itself (RFC 9110 section 15, RFC 6585). */
const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  508: "Loop Detected",
};

/** Members of a problem document beside `type`, `title` and `status` (RFC 9457 section 3). */
export interface ProblemMembers {
  readonly type?: string;
  readonly detail?: string;
  readonly [member: string]: unknown;
}

/** Makes a problem document (RFC 9457). */
export function problemBody(status: number, members: ProblemMembers = {}): Uint8Array<ArrayBuffer> {
  const { type = "about:blank", ...rest } = members;
  const title = TITLES[status] ?? "Error";
  return encoder.encode(JSON.stringify({ type, title, status, ...rest }) + "\n");
}

/** A response whose content is at hand. */
export interface MeasuredResponse {
  readonly response: Response;
  /** All of its content. */
  readonly body: Uint8Array<ArrayBuffer>;
}

/**
 * Turns a failure into the answer that the client gets.
 *
 * Only what a client may know is in it: details of a client's own mistake, never those of a server or a filter.
 * `Proxy-Status` (RFC 9209) names the kind of failure when the proxy or a server is to blame. A client that has gone, which
 * is logged as 499, and is there all the same gets 400: its request was not complete.
 */
export function problemResponse(error: ProxyError): MeasuredResponse {
  const { source } = error;
  const gone = error.status === 499;
  const status = gone ? 400 : error.status;
  const code = gone ? "http_request_error" : error.code;
  const headers: Record<string, string> = {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    ...error.headers,
  };
  // RFC 9209 has no type of its own for it.
  const type = code === OUT_OF_RESOURCES.code ? `proxy_internal_error; details="${code}"` : code;
  headers["proxy-status"] = `${PROXY_NAME}; error=${type}`;
  const members = source === "client" ? { detail: error.message } : {};
  const body = problemBody(status, members);
  return { response: new Response(body, { status, headers }), body };
}
