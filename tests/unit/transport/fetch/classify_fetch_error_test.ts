import { assertEquals } from "@std/assert";
import { UpstreamError, type UpstreamErrorCode } from "../../../../lib/core/errors.ts";
import { classifyBodyError, classifyFetchError } from "../../../../lib/transport/fetch/fetch_exchange.ts";

function failed(text: string): TypeError {
  return new TypeError("fetch failed", { cause: new Error(text) });
}

/** Words of Deno 2.9.6; the suite brings about most of these failures for real. */
const CASES: [string, UpstreamErrorCode, UpstreamError["phase"]][] = [
  [
    "client error (Connect): tcp connect error: Connection refused (os error 111)",
    "connection_refused",
    "unsent",
  ],
  ["client error (Connect): No such file or directory (os error 2)", "connection_refused", "unsent"],
  ["client error (Connect): dns error: failed to lookup address information", "dns_error", "unsent"],
  ["client error (Connect): tcp open error: Too many open files (os error 24)", "out_of_resources", "unsent"],
  [
    "client error (Connect): tcp connect error: Network is unreachable (os error 101)",
    "destination_ip_unroutable",
    "unsent",
  ],
  [
    "client error (Connect): tcp connect error: No route to host (os error 113)",
    "destination_ip_unroutable",
    "unsent",
  ],
  [
    "client error (Connect): tcp connect error: Connection timed out (os error 110)",
    "connection_timeout",
    "unsent",
  ],
  ["client error (Connect): invalid peer certificate: UnknownIssuer", "tls_certificate_error", "unsent"],
  [
    "client error (Connect): received corrupt message of type InvalidContentType",
    "tls_protocol_error",
    "unsent",
  ],
  ["client error (Connect): received fatal alert: HandshakeFailure", "tls_protocol_error", "unsent"],
  ["client error (Connect): Connection reset by peer (os error 104)", "connection_terminated", "unsent"],
  ["client error (SendRequest): received fatal alert: CertificateRequired", "tls_certificate_error", "sent"],
  ["client error (SendRequest): connection closed before message completed", "connection_terminated", "sent"],
  ["client error (SendRequest): invalid HTTP version parsed", "http_protocol_error", "sent"],
  ["client error (SendRequest): invalid content-length parsed", "http_protocol_error", "sent"],
  ["client error (SendRequest): message head is too large", "http_protocol_error", "sent"],
  [
    "client error (SendRequest): operation was canceled: connection was not ready",
    "connection_terminated",
    "unsent",
  ],
];

Deno.test("classifyFetchError() tells code and phase by the words", () => {
  for (const [text, code, phase] of CASES) {
    const error = classifyFetchError(failed(`error sending request for url (http://h/): ${text}`));
    assertEquals([error.code, error.phase], [code, phase], text);
  }
  const reset = classifyFetchError(failed("Connection reset by peer (os error 104)"));
  assertEquals([reset.code, reset.phase], ["connection_terminated", "sent"]);
  assertEquals(classifyFetchError(failed("early end, expected 4 more bytes")).code, "http_request_error");
});

Deno.test("classifyFetchError() is not fooled by words in the URL", () => {
  const url = "http://h/?client error (Connect): Connection refused, dns error";
  const error = classifyFetchError(
    failed(`error sending request for url (${url}): client error (SendRequest): invalid HTTP version parsed`),
  );
  assertEquals([error.code, error.phase], ["http_protocol_error", "sent"]);
});

Deno.test("classifyFetchError() assumes that the request arrived when it knows nothing", () => {
  for (const value of [new TypeError("fetch failed"), new Error("?"), "text", undefined]) {
    const error = classifyFetchError(value);
    assertEquals([error instanceof UpstreamError, error.phase], [true, "sent"]);
  }
});

Deno.test("classifyFetchError() takes the reason of a tunnel that found no way", () => {
  const error = failed(
    "error sending request for url (https://h/): client error (Connect): unsuccessful tunnel",
  );
  assertEquals(classifyFetchError(error, "dns_error").code, "dns_error");
  assertEquals(classifyFetchError(error, null).phase, "unsent");
  assertEquals(
    classifyFetchError(failed("client error (Connect): dns error"), "connection_refused").code,
    "dns_error",
  );
});

Deno.test("classifyBodyError() says that the answer had begun", () => {
  const error = classifyBodyError(new TypeError("error reading a body from connection"));
  assertEquals([error.code, error.phase, error.status], ["http_response_incomplete", "answered", 502]);
});
