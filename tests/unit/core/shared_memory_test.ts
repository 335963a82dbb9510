import { assertEquals, assertThrows } from "@std/assert";
import { openDescriptors } from "../../../lib/core/resource_shortage.ts";
import { createSharedMemory, letGoOfSharedMemory } from "../../../lib/core/shared_memory.ts";

const ignore = Deno.build.os !== "linux";

Deno.test("createSharedMemory() gives memory full of zeros, which letGoOfSharedMemory() gives back", {
  ignore,
}, () => {
  const before = openDescriptors();
  const { buffer, descriptor } = createSharedMemory(8192);
  const bytes = new Uint8Array(buffer);
  assertEquals([bytes.length, bytes.every((byte) => byte === 0)], [8192, true]);
  bytes[8191] = 1;
  letGoOfSharedMemory(buffer, descriptor);
  assertEquals([bytes[8191], openDescriptors()], [0, before]);
});

Deno.test("createSharedMemory() leaves nothing open when the system refuses the memory", { ignore }, () => {
  const before = openDescriptors();
  // More than a file may have, and more than a process has addresses for.
  for (const byteLength of [2 ** 63, 2 ** 50]) {
    assertThrows(() => createSharedMemory(byteLength), Error, "Cannot ma");
  }
  assertEquals(openDescriptors(), before);
});
