import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/jwt_auth lets tokens through, tells the server whose they are, and keeps others out", async () => {
  await using example = await startExample("jwt_auth");

  const refused = await example.ask("GET /");
  assertEquals([refused.status, refused.field("www-authenticate")], [401, 'Bearer realm="restricted"']);

  const { text: token } = await example.ask("GET /login?user=ann");
  assertMatch(token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
  const bearer = [`Authorization: Bearer ${token}`, "X-User: root"];
  const { status, text } = await example.ask("GET /", bearer);
  assertEquals([status, text.match(/^x-user: .*$/gm)], [200, ["x-user: ann"]]);
  assertEquals(text.includes("authorization"), false);
  assertEquals((await example.ask("GET /admin", bearer)).status, 403);

  const forged = `${btoa('{"alg":"none"}').replace(/=+$/, "")}.${token.split(".")[1]}.`;
  const { status: denied, field } = await example.ask("GET /", [`Authorization: Bearer ${forged}`]);
  assertEquals(denied, 401);
  assertStringIncludes(field("www-authenticate") ?? "", 'error="invalid_token"');
});
