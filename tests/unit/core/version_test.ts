import { assertEquals } from "@std/assert";
import { VERSION } from "../../../lib/core/version.ts";

Deno.test("VERSION is the version of the package", async () => {
  const manifest = JSON.parse(await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)));
  assertEquals(VERSION, manifest.version);
});
