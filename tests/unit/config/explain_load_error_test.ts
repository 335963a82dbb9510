import { assertEquals } from "@std/assert";
import { explainLoadError } from "../../../lib/config/config_error.ts";

Deno.test("explainLoadError() says that a file may not be read, in the words of the system", () => {
  const error = new TypeError("Import 'file:///a.ts' failed.\n    0: Permission denied (os error 13)");
  assertEquals(explainLoadError(error, "file:///a.ts"), "it cannot be read: Permission denied");
  assertEquals(
    explainLoadError(error, "file:///b.ts"),
    "it imports file:///a.ts, which cannot be read: Permission denied",
  );
});

Deno.test("explainLoadError() finds the place in a message that is written in colours", () => {
  const url = "file:///a/proxy.config.ts";
  const place = `\x1b[36m${url}\x1b[0m:\x1b[33m1\x1b[0m:\x1b[33m8\x1b[0m`;
  assertEquals(
    explainLoadError(new TypeError(`Module not found "file:///a/b.ts".\n    at ${place}`), url),
    "it imports file:///a/b.ts, which does not exist (line 1, column 8)",
  );
});
