import { assert } from "@std/assert";
import { fuzz } from "./fuzz.ts";

Deno.test("HeadParser and the body readers find the same in 20,000 made-up responses, whole and cut", () => {
  const { outcomes, reasons } = fuzz(20_000, 1);
  // Inputs that all end one way would show little.
  for (const count of Object.values(outcomes)) assert(count > 1000, JSON.stringify(outcomes));
  assert(reasons > 25, `${reasons} reasons to refuse one`);
});
