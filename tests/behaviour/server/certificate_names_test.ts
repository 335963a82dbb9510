/** Certificates by the names that clients ask for, and what becomes of their files. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { ListenTlsOptions } from "../../../lib/config/listen_tls.ts";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import { ListenError } from "../../../lib/engine/engine.ts";
import { serve } from "../../../lib/server/serve.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { type KeyPair, testCa } from "../../support/test_ca.ts";
import { shownNames, tlsClient } from "../../support/tls_client.ts";
import { TEST_WORKERS } from "../../support/test_workers.ts";

/** A place to listen at with TLS. */
function secured(tls: ListenTlsOptions): ListenOptions {
  return { hostname: "127.0.0.1", port: 0, engine: "http1", tls };
}

async function issue(...names: string[]): Promise<KeyPair> {
  return await (await testCa()).issue({ names });
}

Deno.test("Secured listener shows the certificate of the name that a client asks for", async () => {
  await using upstream = startUpstream();
  const tls: ListenTlsOptions = {
    certificates: [
      await issue("first.example"),
      { names: ["own.example", "*.own.example"], ...await issue("own") },
      { names: ["special.own.example"], ...await issue("special") },
      await issue("*.wild.example", "wild.example"),
    ],
  };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
  const table: [asked: string | null, shown: string][] = [
    ["first.example", "DNS:first.example"],
    ["own.example", "DNS:own"],
    ["OWN.example", "DNS:own"],
    ["a.own.example", "DNS:own"],
    ["special.own.example", "DNS:special"],
    ["a.wild.example", "DNS:*.wild.example, DNS:wild.example"],
    ["wild.example", "DNS:*.wild.example, DNS:wild.example"],
    ["a.b.wild.example", "DNS:first.example"],
    ["unknown.example", "DNS:first.example"],
    ["example", "DNS:first.example"],
    [null, "DNS:first.example"],
  ];
  for (const [asked, shown] of table) assertEquals(await shownNames(proxy.port, asked), shown, `${asked}`);
  using client = await tlsClient(proxy.port, "a.wild.example");
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(client)).status, 200);
});

Deno.test("Secured listener closes connections for names without a certificate where it is told to", async () => {
  await using upstream = startUpstream();
  const tls: ListenTlsOptions = { certificates: [await issue("known.example")], unknownNames: "refuse" };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
  assertEquals(await shownNames(proxy.port, "known.example"), "DNS:known.example");
  for (const asked of ["other.example", null]) await assertRejects(() => shownNames(proxy.port, asked));
  assertEquals(await shownNames(proxy.port, "known.example"), "DNS:known.example");
});

Deno.test("Secured listener looks certificates up, once a name however many clients ask for it", async () => {
  await using upstream = startUpstream();
  const found = await issue("found.example");
  const gate = Promise.withResolvers<void>();
  const asked: string[] = [];
  const tls: ListenTlsOptions = {
    ...await issue("default.example"),
    certificates: async (name) => {
      asked.push(name);
      await gate.promise;
      return name === "found.example" ? found : null;
    },
  };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
  const clients = Array.from({ length: 8 }, (_, index) => [
    shownNames(proxy.port, index % 2 === 0 ? "found.example" : "FOUND.example"),
    shownNames(proxy.port, "none.example"),
  ]).flat();
  // Asks for nothing that has to be looked up, so that the others have been taken before it.
  assertEquals(await shownNames(proxy.port, null), "DNS:default.example");
  gate.resolve();
  assertEquals(new Set(await Promise.all(clients)), new Set(["DNS:found.example", "DNS:default.example"]));
  assertEquals(await shownNames(proxy.port, "found.example"), "DNS:found.example");
  assertEquals(await shownNames(proxy.port, "none.example"), "DNS:default.example");
  assertEquals([...new Set(asked)].toSorted(), ["found.example", "none.example"]);
  // Each worker looks up for itself.
  for (const name of new Set(asked)) {
    assert(asked.filter((each) => each === name).length <= TEST_WORKERS, name);
  }
});

Deno.test("Secured listener says why certificates cannot be looked up, and goes on with the default", async () => {
  await using upstream = startUpstream();
  const [one, two] = [await issue("one.example"), await issue("two.example")];
  const results: Record<string, () => unknown> = {
    "throws.example": () => {
      throw new Error("boom");
    },
    "misfit.example": () => ({ cert: one.cert, key: two.key }),
    "wrong.example": () => Promise.resolve("one"),
  };
  const messages: Record<string, string> = {
    "throws.example": "boom",
    "misfit.example": "the key is that of another certificate",
    "wrong.example": "it must return an object with cert and key, or null",
  };
  for (const [name, message] of Object.entries(messages)) {
    const tls = { ...one, certificates: (asked: string) => results[asked]!() } as ListenTlsOptions;
    await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
    assertEquals(await shownNames(proxy.port, name), "DNS:one.example");
    const [event] = proxy.seen.eventsOf("callback_error");
    assertEquals(event!.name, "tls.certificates");
    assertStringIncludes(event!.message, message);
  }
});

Deno.test("Secured listener with a function alone closes connections for what it does not find", async () => {
  await using upstream = startUpstream();
  const found = await issue("found.example");
  const tls: ListenTlsOptions = { certificates: (name) => name === "found.example" ? found : null };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
  for (const asked of ["other.example", null]) await assertRejects(() => shownNames(proxy.port, asked));
  assertEquals(await shownNames(proxy.port, "found.example"), "DNS:found.example");
});

Deno.test("Secured listener outlives clients that go while their certificate is looked up", async () => {
  await using upstream = startUpstream();
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const found = await issue("found.example");
  const tls: ListenTlsOptions = {
    certificates: async () => {
      asked.resolve();
      await gate.promise;
      return found;
    },
  };
  const listen = { ...secured(tls), timeouts: { head: "200ms" as const } };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen });
  const late = shownNames(proxy.port, "found.example");
  await asked.promise;
  await assertRejects(() => late);
  gate.resolve();
  assertEquals(await shownNames(proxy.port, "found.example"), "DNS:found.example");
});

Deno.test("Secured listener speaks no older TLS than it is told to", async () => {
  await using upstream = startUpstream();
  const pair = await issue("localhost");
  const speaks = async (port: number, version: string): Promise<boolean> => {
    const { success } = await new Deno.Command("openssl", {
      args: ["s_client", "-connect", `127.0.0.1:${port}`, `-${version}`, "-cipher", "ALL@SECLEVEL=0"],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).output();
    return success;
  };
  const table: [minVersion: "1.2" | "1.3" | undefined, spoken: boolean[]][] = [
    [undefined, [false, true, true]],
    ["1.2", [false, true, true]],
    ["1.3", [false, false, true]],
  ];
  for (const [minVersion, spoken] of table) {
    const tls = { ...pair, ...(minVersion === undefined ? {} : { minVersion }) };
    await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
    const found = await Promise.all(
      ["tls1_1", "tls1_2", "tls1_3"].map((version) => speaks(proxy.port, version)),
    );
    assertEquals(found, spoken, `${minVersion}`);
  }
});

Deno.test("Secured listener takes new certificates under load without a failed request or a refused connection", async () => {
  await using upstream = startUpstream();
  await using files = await certificateFiles(["localhost"]);
  await using others = await certificateFiles(["other.example"]);
  const { cert, key } = files;
  const tls: ListenTlsOptions = {
    certificates: [{ names: ["localhost"], cert, key }, { cert: others.cert, key: others.key }],
  };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured(tls) });
  using kept = await tlsClient(proxy.port, "localhost");
  let running = true;
  const ask = async (client: Awaited<ReturnType<typeof tlsClient>>): Promise<number> => {
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    return (await readAnswer(client)).status;
  };
  const load = Promise.all([
    (async () => {
      while (running) assertEquals(await ask(kept), 200);
    })(),
    (async () => {
      while (running) {
        using client = await tlsClient(proxy.port, "localhost");
        assertEquals(await ask(client), 200);
      }
    })(),
  ]);
  const events = () => proxy.seen.eventsOf("certificate").map(({ names, problem }) => ({ names, problem }));
  await files.issue(["localhost", "second.example"]);
  await proxy.seen.until(() => events().length > 0);
  await others.issue(["third.example"]);
  await proxy.seen.until(() => events().length > 1);
  running = false;
  await load;
  assertEquals(events(), [
    { names: ["localhost"], problem: null },
    { names: ["third.example"], problem: null },
  ]);
  assertEquals(await shownNames(proxy.port, "localhost"), "DNS:localhost, DNS:second.example");
  assertEquals(await shownNames(proxy.port, "third.example"), "DNS:third.example");
  assertEquals(await shownNames(proxy.port, "other.example"), "DNS:localhost, DNS:second.example");
});

Deno.test("Secured listener keeps its certificate where a file that has changed is of no use, and says so", async () => {
  await using upstream = startUpstream();
  await using files = await certificateFiles(["localhost"]);
  const { cert, key } = files;
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: secured({ cert, key }) });
  const good = await Deno.readTextFile(key);
  const table: [file: string, text: string, problem: string][] = [
    [key, (await issue("other.example")).key, "the key is that of another certificate"],
    [key, "nothing", "the key has no private key"],
    [
      cert,
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
      "the certificate has a certificate that cannot be read",
    ],
  ];
  for (const [index, [file, text, problem]] of table.entries()) {
    await Deno.writeTextFile(file, text);
    await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > index);
    assertEquals(proxy.seen.eventsOf("certificate")[index]!.problem, problem);
    assertEquals(await shownNames(proxy.port, "localhost"), "DNS:localhost");
    await Deno.writeTextFile(key, good);
  }
});

Deno.test("Secured listener says which of its certificates cannot be used", async () => {
  const [one, two] = [await issue("one.example"), await issue("two.example")];
  const tls: ListenTlsOptions = { certificates: [one, { cert: two.cert, key: one.key }] };
  const error = await assertRejects(
    () => serve({ upstreams: ["127.0.0.1:1"], listen: secured(tls) }),
    ListenError,
  );
  assertStringIncludes(error.message, "tls.certificates[1]: the key is that of another certificate");
});
