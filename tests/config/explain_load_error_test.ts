import { assertEquals } from "@std/assert";
import { explainLoadError } from "../../lib/config/explain_load_error.ts";

Deno.test("explainLoadError() says that a file may not be read, in the words of the system", () => {
  const error = new TypeError("Import 'file:///a.ts' failed.\n    0: Permission denied (os error 13)");
  assertEquals(explainLoadError(error, "file:///a.ts"), "it cannot be read: Permission denied");
  assertEquals(
    explainLoadError(error, "file:///b.ts"),
    "it imports file:///a.ts, which cannot be read: Permission denied",
  );
});
