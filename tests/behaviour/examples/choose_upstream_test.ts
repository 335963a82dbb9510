import { assertEquals, assertStringIncludes } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/choose_upstream sends requests where its function says, and payments nowhere else", async () => {
  await using example = await startExample("choose_upstream");
  const of = async (line: string, target = "/") => {
    const { status, field } = await example.ask(`GET ${target}`, [line]);
    return field("x-upstream") ?? status;
  };
  const names = [await of("X-Plan: gold"), await of("X-Plan: silver"), await of("X-Rehearsal: 1")];
  assertEquals(names, ["gold", "gold", "rehearsal"]);
  assertEquals([await of("X-Plan: none"), await of("X-Plan: none")], ["shared", "shared"]);
  const payments = [await of("X-Plan: none", "/payments"), await of("X-Plan: none", "/payments")];
  assertEquals(payments.sort(), [502, "shared"]);
  const { stderr } = await example.stop();
  assertStringIncludes(stderr, "127.0.0.1:1 cannot be reached: connection_refused");
});
