import { assertEquals, assertThrows } from "@std/assert";
import { basicAuth } from "../../../lib/filters/basic_auth.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

const encode = (text: string) => `Authorization: Basic ${btoa(text)}`;
/** The same for any text, as UTF-8. */
const encodeUtf8 = (text: string) => encode(String.fromCharCode(...new TextEncoder().encode(text)));

Deno.test("basicAuth() lets the right name and password through, and tells the server who it is", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, underscores: "pass" },
    upstreams: [upstream.address],
    filters: [basicAuth({ users: { ann: "secret", bob: "p:w" }, userHeader: "x-user" })],
  });
  const spoofed = ["X-User: root", "X_User: root"];
  assertEquals((await proxy.ask("GET /", [encode("ann:secret"), ...spoofed])).status, 200);
  assertEquals([upstream.sent("x-user"), upstream.sent("x_user")], [["ann"], []]);
  assertEquals(upstream.sent("authorization").length, 1);
  assertEquals((await proxy.ask("GET /", [encode("bob:p:w")])).status, 200);
  assertEquals(upstream.sent("x-user"), ["bob"]);
});

const refused: [string, string[]][] = [
  ["no field", []],
  ["a wrong password", [encode("ann:Secret")]],
  ["the beginning of the password", [encode("ann:secre")]],
  ["an empty password", [encode("ann:")]],
  ["an unknown user", [encode("eve:secret")]],
  ["an unknown user without a password", [encode("eve:")]],
  ["a name that every object has", [encode(`constructor:${Object}`)]],
  ["no colon", [encode("ann")]],
  ["another scheme", ["Authorization: Bearer YW5uOnNlY3JldA=="]],
  ["no scheme", ["Authorization: YW5uOnNlY3JldA=="]],
  ["a scheme alone", ["Authorization: Basic"]],
  ["what is no Base64", ["Authorization: Basic ann:secret"]],
  ["Base64 with stray characters", ["Authorization: Basic YW5u*OnNlY3JldA=="]],
  ["Base64 of a length that there is none of", ["Authorization: Basic YW5uO"]],
  ["what is no UTF-8", [`Authorization: Basic ${btoa("odd:\xff")}`]],
  ["control characters", [encode("line:a\nb")]],
  ["a zero byte behind the name", [encode("ann\0:secret")]],
  ["two fields", [encode("ann:secret"), encode("ann:secret")]],
  ["two in one field", [`${encode("ann:secret")}, Basic YQ==`]],
  ["a long one", [`Authorization: Basic ${"A".repeat(8000)}`]],
];

Deno.test("basicAuth() refuses all others with a challenge", async (t) => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [basicAuth({ users: { ann: "secret", odd: "\ufffd", line: "a\nb" }, realm: 'a "realm"' })],
  });
  for (const [name, lines] of refused) {
    await t.step(name, async () => {
      const { status, field, text } = await proxy.ask("GET /", lines);
      assertEquals([status, field("content-type")], [401, "application/problem+json"], text);
      assertEquals(field("www-authenticate"), 'Basic realm="a \\"realm\\"", charset="UTF-8"');
    });
  }
  assertEquals(upstream.requests.length, 0);
});

Deno.test("basicAuth() asks a function, takes UTF-8, and keeps the password from the server if it is to", async () => {
  await using upstream = recordingUpstream();
  const asked: string[] = [];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [basicAuth({
      users: async (user, password) => {
        asked.push(await Promise.resolve(`${user}/${password}`));
        return password === "naïve";
      },
      forward: false,
    })],
  });
  const line = encodeUtf8("Zoë:naïve").replace("Authorization: Basic", "authorization: bAsIc");
  assertEquals((await proxy.ask("GET /", [line])).status, 200);
  assertEquals(asked, ["Zoë/naïve"]);
  assertEquals(upstream.sent("authorization"), []);
});

/** Names that a server would take for others, if it got them at all. */
const INEXACT = [
  "admin ",
  " admin",
  "admin\u00a0",
  "\u00a0admin",
  "\ufeffadmin",
  "é",
  "e\u0301",
  "\u00ff",
  "管理",
];

Deno.test("basicAuth() tells the server names as they are, and refuses those that a field cannot carry", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [basicAuth({ users: () => true, userHeader: "x-user" })],
  });
  for (const user of ["admin", "%C3%A9", "a  b", "a,b", '"admin"', ""]) {
    assertEquals((await proxy.ask("GET /", [encode(`${user}:x`)])).status, 200);
    assertEquals(upstream.sent("x-user"), [user]);
  }
  const served = upstream.requests.length;
  for (const user of INEXACT) {
    const { status, field } = await proxy.ask("GET /", [encodeUtf8(`${user}:x`), "X-User: admin"]);
    assertEquals([status, field("www-authenticate")], [
      401,
      'Basic realm="restricted", charset="UTF-8"',
    ], user);
  }
  assertEquals(upstream.requests.length, served);
  const [event] = proxy.seen.eventsOf("request_log");
  assertEquals([event?.level, event?.fields.reason], [
    "warn",
    "the field x-user cannot carry the name exactly",
  ]);
});

Deno.test("basicAuth() with userEncoding tells the server every name, no two alike", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [basicAuth({ users: () => true, userHeader: "x-user", userEncoding: "percent" })],
  });
  const sent = new Set<string>();
  const users = [...INEXACT, "admin", "%C3%A9", "a b"];
  for (const user of users) {
    assertEquals((await proxy.ask("GET /", [encodeUtf8(`${user}:x`)])).status, 200);
    const [text] = upstream.sent("x-user");
    assertEquals(decodeURIComponent(text!), user);
    sent.add(text!);
  }
  assertEquals(sent.size, users.length);
});

Deno.test("basicAuth() refuses options that cannot be meant", () => {
  assertThrows(() => basicAuth({ users: { ann: "" } }), TypeError, "not empty");
  assertThrows(() => basicAuth({ users: { "a:b": "c" } }), TypeError, "colon");
  assertThrows(() => basicAuth({ users: {}, realm: "a\r\nx: y" }), TypeError, "ASCII");
  assertThrows(() => basicAuth({ users: {}, userHeader: "x y" }), TypeError, "name of a field");
  assertThrows(() => basicAuth({ users: { "Zoë": "a" }, userHeader: "x" }), TypeError, '"percent"');
  assertThrows(() => basicAuth({ users: {}, userEncoding: "utf-8" as "plain" }), TypeError, '"userEncoding"');
});
