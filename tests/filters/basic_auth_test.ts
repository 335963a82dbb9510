import { assertEquals, assertThrows } from "@std/assert";
import { basicAuth } from "../../lib/filters/basic_auth.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { startProxy } from "../support/start_proxy.ts";

const encode = (text: string) => `Authorization: Basic ${btoa(text)}`;

Deno.test("basicAuth() lets the right name and password through, and tells the server who it is", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
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
      userHeader: "x-user",
      forward: false,
    })],
  });
  const credentials = btoa(String.fromCharCode(...new TextEncoder().encode("Zoë:naïve")));
  assertEquals((await proxy.ask("GET /", [`authorization: bAsIc ${credentials}`])).status, 200);
  assertEquals(asked, ["Zoë/naïve"]);
  assertEquals([upstream.sent("x-user"), upstream.sent("authorization")], [["Zo%C3%AB"], []]);
});

Deno.test("basicAuth() refuses options that cannot be meant", () => {
  assertThrows(() => basicAuth({ users: { ann: "" } }), TypeError, "not empty");
  assertThrows(() => basicAuth({ users: { "a:b": "c" } }), TypeError, "colon");
  assertThrows(() => basicAuth({ users: {}, realm: "a\r\nx: y" }), TypeError, "ASCII");
  assertThrows(() => basicAuth({ users: {}, userHeader: "x y" }), TypeError, "name of a field");
});
