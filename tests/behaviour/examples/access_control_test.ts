import { assert, assertEquals } from "@std/assert";
import { FILE_SERVERS, fileServerTest, SECRET } from "../../support/file_servers.ts";
import { FREE, SPELLINGS } from "../../support/path_spellings.ts";
import { startExample } from "../../support/start_example.ts";

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
  assertEquals((await example.ask("GET /x/../%61dmin/")).status, 401);
  assertEquals((await example.ask("GET /admin%2f")).status, 400);
});

for (const server of FILE_SERVERS) {
  fileServerTest(
    server,
    `examples/access_control lets no spelling of a path past the password to ${server}`,
    async (files) => {
      await using example = await startExample("access_control", {
        set: { upstreams: [files.address] },
        permissions: ["-A"],
      });
      const root = `Authorization: Basic ${btoa("root:secret")}`;
      for (const target of SPELLINGS) {
        const { status, text } = await example.ask(`GET ${target}`);
        assert(!text.includes(SECRET) && status >= 400 && status < 500, `${target} gives ${status}`);
      }
      for (const target of [...FREE, "//x"]) {
        assertEquals((await example.ask(`GET ${target}`)).status, 200, target);
      }
      assertEquals((await example.ask("GET /y/../%61dmin//x", [root])).text, SECRET);
    },
  );
}

Deno.test("examples/access_control goes by the address that a trusted proxy names", async () => {
  await using example = await startExample("access_control", { set: { trustedProxies: ["loopback"] } });
  const from = async (ip: string, target: string) =>
    (await example.ask(`GET ${target}`, [`X-Forwarded-For: ${ip}`])).status;
  assertEquals([await from("10.1.2.3", "/admin"), await from("203.0.113.1", "/admin")], [401, 403]);
  assertEquals([await from("203.0.113.1", "/"), await from("192.0.2.7", "/")], [200, 403]);
});
