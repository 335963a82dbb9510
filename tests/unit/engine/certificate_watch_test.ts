import { assertEquals } from "@std/assert";
import {
  certificateFrom,
  CertificateWatch,
  checkPair,
  readCertificate,
  textsOf,
} from "../../../lib/engine/certificate.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { testCa } from "../../support/test_ca.ts";

Deno.test("CertificateWatch says nothing of a certificate whose key has not been written yet", async () => {
  await using files = await certificateFiles(["a.example"]);
  const [first, second] = await Promise.all(
    ["a.example", "b.example"].map(async (name) => await (await testCa()).issue({ names: [name] })),
  );
  files.put(first!);
  const clock = new FakeClock();
  const told: string[] = [];
  using _watch = new CertificateWatch({
    read: () => textsOf(readCertificate({ cert: files.cert, key: files.key })),
    current: textsOf(first!),
    clock,
    onChange: (changed) => {
      checkPair(certificateFrom(changed));
      told.push("changed");
    },
    onProblem: (problem) => told.push(problem),
  });
  await Deno.writeTextFile(files.cert, second!.cert);
  await clock.advance(1000);
  assertEquals(told, []);
  await Deno.writeTextFile(files.key, second!.key);
  await clock.advance(1000);
  assertEquals(told, ["changed"]);
  await Deno.writeTextFile(files.key, first!.key);
  for (let look = 0; look < 4; look++) await clock.advance(1000);
  assertEquals(told, ["changed", "the key is that of another certificate"]);
  await Deno.remove(files.key);
  for (let look = 0; look < 2; look++) await clock.advance(1000);
  assertEquals(told.at(-1), `cannot read the key ${JSON.stringify(files.key)}: there is no such file`);
});
