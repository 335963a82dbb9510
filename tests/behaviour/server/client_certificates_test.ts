/** Clients that come in by the certificates that they show. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { X509Certificate } from "node:crypto";
import type { ClientCertificateOptions } from "../../../lib/config/listen_tls.ts";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import type { ClientCertificate } from "../../../lib/http/client_certificate.ts";
import { askByOpenSsl, AUTHORITY, CLIENT, type Issued, OpenSsl, showing } from "../../support/openssl.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";

/** A place to listen at that looks at the certificates of clients. */
async function asking(clientCertificates?: ClientCertificateOptions): Promise<ListenOptions> {
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  return {
    hostname: "127.0.0.1",
    port: 0,
    engine: "http1",
    tls: { ...tls, ...(clientCertificates === undefined ? {} : { clientCertificates }) },
  };
}

/** Authorities and clients of all kinds. */
async function makeClients(ssl: OpenSsl) {
  const [ca, other, forged] = await Promise.all(
    ["/CN=Authority", "/CN=Other", "/CN=Authority"].map((subject) =>
      ssl.issue(subject, { extensions: AUTHORITY })
    ),
  ) as [Issued, Issued, Issued];
  const [between, endless] = await Promise.all([
    ssl.issue("/CN=Between", { by: ca, extensions: AUTHORITY }),
    ssl.issue("/CN=No authority", { by: ca, extensions: CLIENT }),
  ]);
  const client = (by: Issued | null, more: Partial<Parameters<OpenSsl["issue"]>[1]> = {}) =>
    ssl.issue("/CN=alice/O=Example", { ...(by === null ? {} : { by }), extensions: CLIENT, ...more });
  const [good, sent, unsent, wrong, sameName, self, expired, early, server, byClient] = await Promise.all([
    client(ca, {
      extensions:
        `${CLIENT}\nsubjectAltName=DNS:Alice.example,email:a@b.example,URI:spiffe://a/b,IP:192.0.2.1`,
    }),
    client(between),
    client(between),
    client(other),
    client(forged),
    client(null),
    client(ca, { to: "20250101000000Z" }),
    client(ca, { from: "20480101000000Z" }),
    client(ca, { extensions: "extendedKeyUsage=serverAuth" }),
    client(endless),
  ]);
  const refused: [what: string, args: string[], reason: RegExp][] = [
    ["none", [], /^it has shown no certificate$/],
    [
      "an intermediate that is not sent",
      showing(unsent),
      /^no authority that is trusted has issued the certificate, but CN=Between$/,
    ],
    [
      "another authority",
      showing(wrong),
      /^no authority that is trusted has issued the certificate, but CN=Other$/,
    ],
    [
      "an authority of the same name",
      showing(sameName),
      /^no authority that is trusted has issued the certificate, but CN=Authority$/,
    ],
    [
      "itself",
      showing(self),
      /^no authority that is trusted has issued the certificate, but O=Example,CN=alice$/,
    ],
    ["an authority, but before today", showing(expired), /^the certificate has ended on 2025-01-01$/],
    ["an authority, but after today", showing(early), /^the certificate is not good before 2048-01-01$/],
    ["an authority, for servers", showing(server), /^the certificate is not for clients$/],
    [
      "one that is no authority",
      [...showing(byClient), "-cert_chain", endless.cert],
      /^no authority that is trusted has issued the certificate, but CN=No authority$/,
    ],
  ];
  const taken: [what: string, args: string[]][] = [
    ["an authority", showing(good)],
    ["an intermediate", [...showing(sent), "-cert_chain", between.cert]],
  ];
  return { ca, other, good, refused, taken };
}

/** Why the last client was refused. */
function lastReason(proxy: TestProxy): string | undefined {
  return proxy.seen.eventsOf("client_certificate").at(-1)?.reason;
}

Deno.test("clientCertificates let in whom an authority has issued one, in full handshakes and in resumed ones", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca, refused, taken } = await makeClients(ssl);
  // Begins sessions with anybody, which can be resumed at the other listeners.
  await using anybody = await startProxy({
    upstreams: [upstream.address],
    listen: await asking({ mode: "request", verify: () => true }),
  });
  for (const version of ["-tls1_2", "-tls1_3"]) {
    for (const [what, args, reason] of refused) {
      await using proxy = await startProxy({
        upstreams: [upstream.address],
        listen: await asking({ ca: ca.cert }),
      });
      const first = await askByOpenSsl(proxy.port, [version, ...args]);
      assertEquals([first.status, first.reused], [null, false], what);
      await proxy.seen.until(() => lastReason(proxy) !== undefined);
      assertMatch(lastReason(proxy)!, reason, what);
      const session = ssl.path("session");
      assertEquals(
        (await askByOpenSsl(anybody.port, [version, ...args, "-sess_out", session])).status,
        200,
        what,
      );
      await using again = await startProxy({
        upstreams: [upstream.address],
        listen: await asking({ ca: ca.cert }),
      });
      const resumed = await askByOpenSsl(again.port, [version, "-sess_in", session]);
      assertEquals([resumed.status, resumed.reused], [null, true], `${what}, resumed`);
      await again.seen.until(() => lastReason(again) !== undefined);
      assertMatch(lastReason(again)!, reason, `${what}, resumed`);
    }
    for (const [what, args] of taken) {
      await using proxy = await startProxy({
        upstreams: [upstream.address],
        listen: await asking({ ca: ca.cert }),
      });
      const session = ssl.path("session");
      const first = await askByOpenSsl(proxy.port, [version, ...args, "-sess_out", session]);
      assertEquals([first.status, first.reused], [200, false], what);
      const resumed = await askByOpenSsl(proxy.port, [version, "-sess_in", session]);
      assertEquals([resumed.status, resumed.reused], [200, true], what);
      assertEquals(proxy.seen.eventsOf("client_certificate"), []);
    }
  }
});

Deno.test("clientCertificates: a session of a listener that asks for none shows none", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca } = await makeClients(ssl);
  await using open = await startProxy({ upstreams: [upstream.address], listen: await asking() });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: await asking({ ca: ca.cert }),
  });
  const session = ssl.path("session");
  assertEquals((await askByOpenSsl(open.port, ["-sess_out", session])).status, 200);
  const resumed = await askByOpenSsl(proxy.port, ["-sess_in", session]);
  assertEquals([resumed.status, resumed.reused], [null, true]);
  await proxy.seen.until(() => lastReason(proxy) !== undefined);
  assertEquals(lastReason(proxy), "it has shown no certificate");
});

Deno.test("clientCertificates tell filters, keys and servers who has come in", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca, good, taken } = await makeClients(ssl);
  const seen: (ClientCertificate | null)[] = [];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: await asking({ ca: await Deno.readTextFile(ca.cert), mode: "request" }),
    forwarded: { clientCert: true },
    limiter: { key: "certificate:fingerprint", limit: 1, window: "1h", onMissingKey: "skip" },
    requestFilter: (_request, ctx) => void seen.push(ctx.client.certificate),
  });
  const spoofed = ["Client-Cert: :AAAA:", "client-cert-chain: :AAAA:"];
  assertEquals((await askByOpenSsl(proxy.port, showing(good), spoofed)).status, 200);
  assertEquals((await askByOpenSsl(proxy.port, showing(good), spoofed)).status, 429);
  assertEquals((await askByOpenSsl(proxy.port, taken[1]![1])).status, 200);
  for (let i = 0; i < 2; i++) assertEquals((await askByOpenSsl(proxy.port, [], spoofed)).status, 200);
  const x509 = new X509Certificate(await Deno.readTextFile(good.cert));
  const { der, ...told } = seen[0]!;
  assertEquals(told, {
    subject: "O=Example,CN=alice",
    issuer: "CN=Authority",
    serialNumber: x509.serialNumber.toLowerCase(),
    names: ["dns:alice.example", "email:a@b.example", "uri:spiffe://a/b", "ip:192.0.2.1"],
    fingerprint: x509.fingerprint256.replaceAll(":", "").toLowerCase(),
    notBefore: new Date("2024-01-01T00:00:00Z"),
    notAfter: new Date("2049-12-31T23:59:59Z"),
    verified: true,
  });
  assertEquals(seen.slice(2), [null, null]);
  const fields = upstream.seen.map((
    { headers },
  ) => [headers.get("client-cert"), headers.get("client-cert-chain")]);
  assertEquals(fields[0], [`:${der.toBase64()}:`, null]);
  assertEquals(fields.slice(2), [[null, null], [null, null]]);
});

Deno.test("clientCertificates: HTTP/2 is told of them too, and clients' own fields pass where nobody asks for them", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca, good } = await makeClients(ssl);
  const [cert, key] = [await Deno.readTextFile(good.cert), await Deno.readTextFile(good.key)];
  using client = Deno.createHttpClient({
    caCerts: [(await testCa()).cert],
    cert,
    key,
    http1: false,
    http2: true,
  });
  for (const clientCert of [true, false]) {
    const subjects: (string | undefined)[] = [];
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      listen: await asking({ ca: ca.cert }),
      forwarded: { clientCert },
      requestFilter: (_request, ctx) => void subjects.push(ctx.client.certificate?.subject),
    });
    const headers = { "client-cert": "own" };
    const response = await fetch(`https://localhost:${proxy.port}/`, { client, headers });
    await response.text();
    assertEquals([response.status, subjects], [200, ["O=Example,CN=alice"]]);
    const told = upstream.seen.at(-1)!.headers.get("client-cert")!;
    if (clientCert) assert(told.startsWith(":MII"), told);
    else assertEquals(told, "own");
  }
});

Deno.test("clientCertificates.verify decides for each connection, those with resumed sessions too", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca, good, refused } = await makeClients(ssl);
  const asked: [subject: string, verified: boolean][] = [];
  const answers: unknown[] = [
    true,
    true,
    Promise.resolve(true),
    false,
    Promise.resolve("revoked last week"),
    "",
    5,
  ];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: await asking({
      ca: ca.cert,
      verify: ({ subject, verified }) => {
        asked.push([subject, verified]);
        if (answers.length === 0) throw new Error("boom");
        return answers.shift() as boolean;
      },
    }),
  });
  const session = ssl.path("session");
  // Those that the authorities do not let in are not asked for.
  assertEquals((await askByOpenSsl(proxy.port, refused[2]![1])).status, null);
  const statuses = [];
  for (let i = 0; i < 9; i++) {
    const args = i === 0 ? [...showing(good), "-sess_out", session] : ["-sess_in", session];
    const { status, reused } = await askByOpenSsl(proxy.port, args);
    assertEquals(reused, i > 0);
    statuses.push(status);
  }
  assertEquals(statuses, [200, 200, 200, null, null, null, null, null, null]);
  assertEquals(asked, Array.from({ length: 9 }, () => ["O=Example,CN=alice", true]));
  const errors = proxy.seen.eventsOf("callback_error").map(({ name, message }) => `${name}: ${message}`);
  assertEquals(errors.length, 4);
  assertStringIncludes(errors[0]!, "tls.clientCertificates.verify: it must return true, false or a reason");
  assertStringIncludes(errors[3]!, "tls.clientCertificates.verify: boom");
});

Deno.test("clientCertificates.verify alone lets in whom it will, within the time of a handshake", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { refused } = await makeClients(ssl);
  const self = refused[4]![1];
  const verified: boolean[] = [];
  const answers: Promise<boolean>[] = [Promise.resolve(true), new Promise(() => {})];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: {
      ...await asking({
        verify: (certificate) => {
          verified.push(certificate.verified);
          return answers.shift()!;
        },
      }),
      timeouts: { head: "300ms" },
    },
  });
  assertEquals((await askByOpenSsl(proxy.port, self)).status, 200);
  assertEquals((await askByOpenSsl(proxy.port, self)).status, null);
  assertEquals(verified, [false, false]);
});

Deno.test("clientCertificates: authorities in a file change while the proxy runs, for resumed sessions too", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca, other, good, refused } = await makeClients(ssl);
  const file = ssl.path("ca.pem");
  await Deno.copyFile(ca.cert, file);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: await asking({ ca: [file] }),
  });
  const session = ssl.path("session");
  assertEquals((await askByOpenSsl(proxy.port, [...showing(good), "-sess_out", session])).status, 200);
  assertEquals((await askByOpenSsl(proxy.port, ["-sess_in", session])).status, 200);
  await Deno.copyFile(other.cert, file);
  await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > 0);
  assertEquals(proxy.seen.eventsOf("certificate")[0], {
    kind: "certificate",
    address: `127.0.0.1:${proxy.port}`,
    names: ["clientCertificates.ca"],
    problem: null,
  });
  for (const args of [showing(good), ["-sess_in", session]]) {
    assertEquals((await askByOpenSsl(proxy.port, args)).status, null);
  }
  assertEquals((await askByOpenSsl(proxy.port, refused[2]![1])).status, 200);
});

Deno.test("clientCertificates: of many clients that are refused the log tells now and then, and counts the others", async () => {
  await using upstream = startUpstream();
  await using ssl = await OpenSsl.create();
  const { ca } = await makeClients(ssl);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: await asking({ ca: ca.cert }),
  });
  await Promise.all(Array.from({ length: 20 }, () => askByOpenSsl(proxy.port, [])));
  const events = proxy.seen.eventsOf("client_certificate");
  assert(events.length < 10, `${events.length} events`);
  const { count: _, ...event } = events[0]!;
  assertEquals(event, {
    kind: "client_certificate",
    address: `127.0.0.1:${proxy.port}`,
    client: "127.0.0.1",
    subject: null,
    fingerprint: null,
    reason: "it has shown no certificate",
  });
});
