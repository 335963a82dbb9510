import { assertEquals } from "@std/assert";
import { encodeGrpcMessage, grpcStatusOf, isGrpc } from "../../../lib/http/grpc.ts";

Deno.test("grpcStatusOf() is what clients make of a status, and RESOURCE_EXHAUSTED for limits", () => {
  const statuses = [400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 302];
  assertEquals(statuses.map(grpcStatusOf), [13, 16, 7, 12, 2, 8, 8, 2, 14, 14, 14, 2]);
});

Deno.test("isGrpc() knows gRPC by its content type, and not gRPC-Web", () => {
  const good = [
    "application/grpc",
    "application/grpc+proto",
    "Application/GRPC+json; charset=utf-8",
    "application/grpc;x",
  ];
  const bad = [
    null,
    "",
    "application/json",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpcs",
  ];
  assertEquals([...good, ...bad].map(isGrpc), [
    true,
    true,
    true,
    true,
    false,
    false,
    false,
    false,
    false,
    false,
  ]);
});

Deno.test("encodeGrpcMessage() leaves printable ASCII but the percent sign as it is", () => {
  assertEquals(encodeGrpcMessage("Too Many Requests: 5/s ~"), "Too Many Requests: 5/s ~");
  assertEquals(encodeGrpcMessage("100%\r\n\u00e9\u{1f600}\ud800"), "100%25%0D%0A%C3%A9%F0%9F%98%80%EF%BF%BD");
});
