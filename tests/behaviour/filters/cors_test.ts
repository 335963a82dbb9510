import { assertEquals, assertThrows } from "@std/assert";
import { basicAuth } from "../../../lib/filters/basic_auth.ts";
import { cors, type CorsOptions } from "../../../lib/filters/cors.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const APP = "https://app.example";
const preflight = (origin: string, headers = "") => [
  `Origin: ${origin}`,
  "Access-Control-Request-Method: PUT",
  ...(headers === "" ? [] : [`Access-Control-Request-Headers: ${headers}`]),
];

Deno.test("cors() answers a preflight itself, before passwords are asked for", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [cors({ origins: [APP], credentials: true, maxAge: "1h" }), basicAuth({ users: { a: "b" } })],
  });
  const { status, field, text } = await proxy.ask("OPTIONS /a", preflight(APP, "x-one, , x-two"));
  assertEquals([status, text], [204, ""]);
  assertEquals(
    ["origin", "credentials", "methods", "headers"].map((name) => field(`access-control-allow-${name}`)),
    [APP, "true", "GET, HEAD, POST, PUT, PATCH, DELETE", "x-one, x-two"],
  );
  assertEquals(field("access-control-max-age"), "3600");
  assertEquals(field("vary"), "Access-Control-Request-Method, Access-Control-Request-Headers, Origin");

  const refused = await proxy.ask("GET /a", [`Origin: ${APP}`]);
  assertEquals([refused.status, refused.field("access-control-allow-origin")], [401, APP]);
  assertEquals(upstream.requests, 0);
});

Deno.test("cors() leaves OPTIONS that are no preflight to the server", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [cors({ origins: [APP] })],
  });
  assertEquals((await proxy.ask("OPTIONS /", [`Origin: ${APP}`])).text, "upstream");
  assertEquals((await proxy.ask("OPTIONS /", ["Access-Control-Request-Method: PUT"])).text, "upstream");
});

const origins: [string, CorsOptions["origins"], string, string | undefined][] = [
  ["that is named", [APP], APP, APP],
  ["that ends like one", [APP], "https://evil-app.example", undefined],
  ["that begins like one", [APP], `${APP}.evil.example`, undefined],
  ["with another scheme", [APP], "http://app.example", undefined],
  ["with another port", [APP], `${APP}:8443`, undefined],
  ["in other letters", [APP], "https://APP.example", undefined],
  ["that is null", [APP], "null", undefined],
  ["that is null and named", ["null"], "null", "null"],
  ["that is a list", [APP], `${APP}, https://evil.example`, undefined],
  ["of anybody", "*", "https://evil.example", "*"],
  [
    "that a function allows",
    (origin) => origin.endsWith(".example"),
    "https://a.example",
    "https://a.example",
  ],
  ["that a function does not allow", (origin) => origin.endsWith(".example"), "https://a.test", undefined],
];
for (const [name, allowed, origin, expected] of origins) {
  Deno.test(`cors() ${expected === undefined ? "does not allow" : "allows"} an origin ${name}`, async () => {
    await using upstream = startUpstream();
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      filters: [cors({ origins: allowed })],
    });
    const { status, field } = await proxy.ask("GET /", [`Origin: ${origin}`]);
    assertEquals([status, field("access-control-allow-origin")], [200, expected]);
    assertEquals(field("vary"), allowed === "*" ? undefined : "Origin");
    const asked = await proxy.ask("OPTIONS /", preflight(origin));
    assertEquals(asked.status, expected === undefined ? 403 : 204);
    assertEquals(asked.field("access-control-allow-origin"), expected);
  });
}

Deno.test("cors() has the only word on who may read, and a cache learns that it depends on the origin", async () => {
  await using upstream = recordingUpstream(
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept-Encoding\r\nAccess-Control-Allow-Origin: *\r\n" +
      "Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: *\r\n\r\nok",
  );
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [cors({ origins: [APP], exposeHeaders: ["X-Total"] })],
  });
  const read = async (lines: string[]) => {
    const { field } = await proxy.ask("GET /", lines);
    return ["allow-origin", "allow-credentials", "expose-headers"].map((name) =>
      field(`access-control-${name}`)
    )
      .concat(field("vary"));
  };
  assertEquals(await read([`Origin: ${APP}`]), [APP, undefined, "x-total", "Accept-Encoding, Origin"]);
  assertEquals(await read(["Origin: https://a.test"]), [
    undefined,
    undefined,
    undefined,
    "Accept-Encoding, Origin",
  ]);
  assertEquals(await read([]), [undefined, undefined, undefined, "Accept-Encoding, Origin"]);
});

Deno.test("cors() lets pages read a refusal of the limiter, and a failure", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    limiter: { key: "header:appid", limit: 1, window: "1m" },
    filters: [cors({ origins: [APP], exposeLimits: true })],
  });
  for (const status of [502, 429]) {
    const answer = await proxy.ask("GET /", [`Origin: ${APP}`, "appid: a"]);
    assertEquals([answer.status, answer.field("access-control-allow-origin")], [status, APP]);
    const exposed = answer.field("access-control-expose-headers")?.split(", ") ?? [];
    assertEquals(
      ["retry-after", "ratelimit", "x-rate-limit-reset"].every((name) => exposed.includes(name)),
      true,
    );
  }
});

Deno.test("cors() does not give back what is no name of a field", async () => {
  await using proxy = await startProxy({ upstreams: ["127.0.0.1:1"], filters: [cors({ origins: "*" })] });
  const { field } = await proxy.ask("OPTIONS /", preflight(APP, 'x-a, "x b", x:c, x-d'));
  assertEquals(field("access-control-allow-headers"), "x-a, x-d");
});

Deno.test("cors() refuses options that cannot be meant", () => {
  assertThrows(() => cors({ origins: "*", credentials: true }), TypeError, "credentials");
  assertThrows(() => cors({ origins: ["app.example"] }), TypeError, "must be an origin");
  assertThrows(() => cors({ origins: [`${APP}/`] }), TypeError, "must be an origin");
  assertThrows(() => cors({ origins: ["*"] }), TypeError, "must be an origin");
  assertThrows(() => cors({ origins: "*", methods: ["A B"] }), TypeError, "must be a method");
  assertThrows(() => cors({ origins: "*", headers: ["a\nb"] }), TypeError, "name of a field");
  assertThrows(() => cors({ origins: "*", maxAge: "1" }), TypeError, "maxAge");
});
