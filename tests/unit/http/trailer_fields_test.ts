import { assertEquals } from "@std/assert";
import { mayBeTrailer } from "../../../lib/http/proxy_fields.ts";

Deno.test("mayBeTrailer() keeps out what decides about framing, routing, authentication and content", () => {
  const kept = [
    ..."content-length transfer-encoding te trailer connection keep-alive upgrade http2-settings host".split(
      " ",
    ),
    ..."proxy-connection proxy-authorization proxy-authenticate authorization www-authenticate cookie".split(
      " ",
    ),
    ..."set-cookie content-type content-encoding content-range content-location cache-control expect".split(
      " ",
    ),
    ..."max-forwards pragma range if-match if-none-match if-range age expires date location vary".split(" "),
    ..."retry-after warning via forwarded x-forwarded-for x-forwarded-client-cert x-real-ip origin".split(
      " ",
    ),
    ..."access-control-allow-origin sec-websocket-key sec-fetch-site close early-data x-original-url client-cert"
      .split(
        " ",
      ),
  ];
  for (const name of kept) {
    assertEquals(mayBeTrailer(name), false, name);
    // The same variable behind CGI.
    assertEquals(mayBeTrailer(name.replaceAll("-", "_")), false, name);
  }
});

Deno.test("mayBeTrailer() lets pass what describes content that has just been made, and whatever is not known", () => {
  const names =
    "etag digest content-digest repr-digest server-timing grpc-status grpc-message x-checksum x_y proxy-status";
  for (const name of names.split(" ")) assertEquals(mayBeTrailer(name), true, name);
});
