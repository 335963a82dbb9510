import { assertEquals, assertThrows } from "@std/assert";
import { readTar, readTarball } from "../../tools/vendor/tar.ts";
import { tarOf } from "./tar_of.ts";

Deno.test("readTar() gives the regular files by path", () => {
  const tar = tarOf([
    { path: "package/", type: "5", body: "" },
    { path: "package/a.js", body: "export const a = 1;\n" },
    { path: "package/link.js", type: "2", body: "" },
    { path: "package/empty.js", body: "" },
    { path: "package/exact.js", body: "x".repeat(512) },
  ]);

  assertEquals(texts(readTar(tar)), {
    "package/a.js": "export const a = 1;\n",
    "package/empty.js": "",
    "package/exact.js": "x".repeat(512),
  });
});

Deno.test("readTar() puts the prefix of a header in front of the name", () => {
  const tar = tarOf([{ prefix: "package/deep", path: "b.js", body: "b" }]);

  assertEquals(texts(readTar(tar)), { "package/deep/b.js": "b" });
});

Deno.test("readTar() takes long names from pax and GNU records, for the next file only", () => {
  const long = `package/${"d/".repeat(200)}é.js`;
  const line = ` path=${long}\n`;
  const size = new TextEncoder().encode(line).length + 3;
  const tar = tarOf([
    { path: "PaxHeader", type: "x", body: `18 mtime=12345678\n${size}${line}` },
    { path: "cut off", body: "pax" },
    { path: "package/short.js", body: "short" },
    { path: "././@LongLink", type: "L", body: `${long}x\0` },
    { path: "cut off", body: "gnu" },
    { path: "pax_global_header", type: "g", body: "15 comment=abc\n" },
  ]);

  assertEquals(texts(readTar(tar)), { [long]: "pax", "package/short.js": "short", [`${long}x`]: "gnu" });
});

Deno.test("readTar() refuses an archive that ends within a file", () => {
  const tar = tarOf([{ path: "package/a.js", body: "a".repeat(2000) }]);

  assertThrows(() => readTar(tar.subarray(0, 1024)), RangeError, "Cannot read the tar archive");
});

Deno.test("readTarball() unpacks gzip first", async () => {
  const plain = new Blob([tarOf([{ path: "package/a.js", body: "a" }])]);
  const tgz = await new Response(plain.stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();

  assertEquals(texts(await readTarball(new Uint8Array(tgz))), { "package/a.js": "a" });
});

function texts(files: Map<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries([...files].map(([path, body]) => [path, new TextDecoder().decode(body)]));
}
