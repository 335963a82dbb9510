/** What `fetch` says when it fails, told apart by the words, because there is nothing else. */

import { resourceShortage } from "../../core/resource_shortage.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";

type Rule = readonly [words: RegExp, code: UpstreamErrorCode];

/** Before anything was sent: the text says `client error (Connect)`. */
const CONNECT_RULES: readonly Rule[] = [
  [/dns error/i, "dns_error"],
  [/certificate/i, "tls_certificate_error"],
  [/refused|no such file/i, "connection_refused"],
  [/timed out/i, "connection_timeout"],
  [/unreachable|no route/i, "destination_ip_unroutable"],
  [/corrupt message|alert|tls|handshake|peer is incompatible|peer misbehaved/i, "tls_protocol_error"],
];

/** After that, until the head of the response. */
const SEND_RULES: readonly Rule[] = [
  [/alert: .*certificate|certificate required/i, "tls_certificate_error"],
  [/alert/i, "tls_protocol_error"],
  [/\binvalid\b|too large|parsed|unexpected message|http2|uri/i, "http_protocol_error"],
  [/early end/i, "http_request_error"],
];

/** The request waited for a connection that was closed, and was never written to one. */
const NEVER_SENT = /\(Connect\)|\(ChannelClosed\)|operation was canceled|connection was not ready/;

/**
 * Makes an error that says why and how far the request had got.
 *
 * @param error what `fetch` rejected with
 * @param dialFailure why the connection to the server failed, where we dialled ourselves
 */
export function classifyFetchError(
  error: unknown,
  dialFailure: UpstreamErrorCode | null = null,
): UpstreamError {
  const said = describe(error);
  const unsent = NEVER_SENT.test(said);
  const shortage = unsent ? resourceShortage(error) : null;
  const text = shortage ?? said;
  let code = shortage === null ? codeOf(text, unsent ? CONNECT_RULES : SEND_RULES) : "out_of_resources";
  if (dialFailure !== null && text.includes("unsuccessful tunnel")) code = dialFailure;
  return new UpstreamError(`fetch failed: ${text}`, {
    code,
    phase: unsent ? "unsent" : "sent",
    cause: error,
  });
}

/** Makes an error of what broke off the content of a response. */
export function classifyBodyError(error: unknown): UpstreamError {
  return new UpstreamError(`The response was cut short: ${describe(error)}`, {
    code: "http_response_incomplete",
    phase: "answered",
    cause: error,
  });
}

function codeOf(text: string, rules: readonly Rule[]): UpstreamErrorCode {
  for (const [words, code] of rules) {
    if (words.test(text)) return code;
  }
  return "connection_terminated";
}

/** The words after the URL, which is the client's and may hold any word; the URL ends at the first `): `. */
function describe(error: unknown): string {
  const { cause } = error instanceof Error ? error : { cause: undefined };
  const text = cause instanceof Error
    ? cause.message
    : error instanceof Error
    ? error.message
    : String(error);
  const start = text.lastIndexOf("client error (");
  return start === -1 ? text : text.slice(start);
}
