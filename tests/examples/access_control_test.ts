import { assertEquals } from "@std/assert";
import { startExample } from "../support/start_example.ts";

Deno.test("examples/access_control asks for addresses and passwords, and bounds uploads", async () => {
  await using example = await startExample("access_control");
  const root = `Authorization: Basic ${btoa("root:secret")}`;
  const refused = await example.ask("GET /admin/");
  assertEquals([refused.status, refused.field("www-authenticate")], [
    401,
    'Basic realm="admin", charset="UTF-8"',
  ]);
  assertEquals((await example.ask("GET /admin", [`Authorization: Basic ${btoa("root:guess")}`])).status, 401);
  const { status, text } = await example.ask("GET /admin/", [root, "X-User: ann"]);
  assertEquals([status, text.match(/^(x-user|authorization):.*$/gm)], [200, ["x-user: root"]]);
  const upload = async (bytes: number) =>
    (await example.ask("POST /upload", [`Content-Length: ${bytes}`], "a".repeat(bytes))).status;
  assertEquals([await upload(1024), await upload(1025)], [200, 413]);
  assertEquals((await example.ask("GET /administrators")).status, 200);
});

Deno.test("examples/access_control goes by the address that a trusted proxy names", async () => {
  await using example = await startExample("access_control", { set: { trustedProxies: ["loopback"] } });
  const from = async (ip: string, target: string) =>
    (await example.ask(`GET ${target}`, [`X-Forwarded-For: ${ip}`])).status;
  assertEquals([await from("10.1.2.3", "/admin"), await from("203.0.113.1", "/admin")], [401, 403]);
  assertEquals([await from("203.0.113.1", "/"), await from("192.0.2.7", "/")], [200, 403]);
});
