import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import type { Listen } from "../../../lib/config/listen_options.ts";
import type { PoolOptions } from "../../../lib/config/pool_options.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";
import { describeCertificates, findCertificateProblems } from "../../../lib/server/certificates.ts";
import { testCa } from "../../support/test_ca.ts";

/** What is said of a configuration, with `FOLDER` for where the files are. */
function problemsOf(config: Record<string, unknown>, folder = ""): string[] {
  return findCertificateProblems(resolveConfig({ upstreams: ["a:80"], ...config }))
    .map(({ path, message }) => `${path} ${message}`.replaceAll(folder === "" ? "FOLDER" : folder, "FOLDER"));
}

const ca = await testCa();
const one = await ca.issue({ names: ["one.example"] });
const two = await ca.issue({ names: ["two.example"] });
/** Looks like PEM, which is all that the schema wants. */
const BROKEN_CERT = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n";
const BROKEN_KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
const ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n";

Deno.test("findCertificateProblems() finds nothing wrong with what fits, in files and as text", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/cert.pem`, one.cert + ca.cert);
    await Deno.writeTextFile(`${folder}/key.pem`, one.key);
    const listen: Listen[] = [
      { port: 1, tls: { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` } },
      { port: 2, tls: two },
      { port: 3 },
    ];
    const upstreams: PoolOptions = {
      servers: ["a:443", { address: "b:443", tls: { ...two } }],
      tls: { caCerts: [ca.cert], ...one },
    };
    assertEquals(problemsOf({ listen, upstreams }), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("findCertificateProblems() says which files cannot be read, and what is in them instead", async () => {
  const folder = await Deno.makeTempDir();
  const file = async (name: string, text: string) => {
    await Deno.writeTextFile(`${folder}/${name}`, text);
    return `${folder}/${name}`;
  };
  try {
    const [cert, key] = [await file("cert.pem", one.cert), await file("key.pem", one.key)];
    const table: [tls: { cert: string; key: string }, problems: string[]][] = [
      [{ cert: `${folder}/no.pem`, key }, [
        'listen.tls.cert names "FOLDER/no.pem", which cannot be read: there is no such file',
      ]],
      [{ cert: key, key: cert }, [
        'listen.tls.cert names "FOLDER/key.pem", which has no certificate, but a private key',
        'listen.tls.key names "FOLDER/cert.pem", which has no private key, but a certificate',
      ]],
      [{ cert: await file("empty.pem", ""), key }, [
        'listen.tls.cert names "FOLDER/empty.pem", which has no certificate',
      ]],
      [{ cert, key: await file("encrypted.pem", ENCRYPTED) }, [
        'listen.tls.key names "FOLDER/encrypted.pem", which has an encrypted private key, and no password can be given: decrypt the key',
      ]],
      [{ cert: BROKEN_CERT, key: BROKEN_KEY }, [
        "listen.tls.cert has a certificate that cannot be read",
        "listen.tls.key has a private key that cannot be read",
      ]],
      [{ cert: one.cert + BROKEN_CERT, key }, [
        "listen.tls.cert has a certificate (number 2) that cannot be read",
      ]],
    ];
    for (const [tls, problems] of table) {
      assertEquals(problemsOf({ listen: { port: 1, tls } }, folder), problems);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("findCertificateProblems() says which key belongs to which certificate", () => {
  const three = { cert: two.cert, key: one.key };
  const swapped: Listen[] = [{ port: 1, tls: { cert: one.cert, key: two.key } }, { port: 2, tls: three }];
  assertEquals(problemsOf({ listen: swapped }), [
    "listen[0].tls.key is not the key of listen[0].tls.cert, but that of listen[1].tls.cert",
    "listen[1].tls.key is not the key of listen[1].tls.cert, but that of listen[0].tls.cert",
  ]);
  assertEquals(problemsOf({ listen: { port: 1, tls: three } }), [
    "listen.tls.key is not the key of listen.tls.cert",
  ]);
});

Deno.test("findCertificateProblems() looks at what servers and the store of limits are spoken to with", () => {
  const wrong = { cert: one.cert, key: two.key };
  const upstreams = {
    api: { servers: ["a:443", "b:443"], tls: { caCerts: [ca.cert, BROKEN_CERT], ...wrong } },
    web: { servers: ["a:443", { address: "b:443", tls: wrong }] },
  };
  const store = { type: "redis", url: "rediss://a", tls: { caCerts: [BROKEN_CERT] } };
  assertEquals(
    problemsOf({
      upstreams,
      routes: [{ upstream: "api" }],
      limiter: { key: "ip", limit: 1, window: "1s", store },
    }),
    [
      "upstreams.api.tls.caCerts[1] has a certificate that cannot be read",
      "upstreams.api.tls.key is not the key of upstreams.api.tls.cert",
      "upstreams.web.servers[1].tls.key is not the key of upstreams.web.servers[1].tls.cert",
      "limiter.store.tls.caCerts[0] has a certificate that cannot be read",
    ],
  );
  assertEquals(problemsOf({ upstreams: upstreams.web }), [
    "upstreams.servers[1].tls.key is not the key of upstreams.servers[1].tls.cert",
  ]);
});

Deno.test("findCertificateProblems() names each of several certificates of a listener", () => {
  const certificates = [one, { names: ["x.example"], cert: two.cert, key: one.key }];
  assertEquals(problemsOf({ listen: { port: 1, engine: "http1", tls: { certificates } } }), [
    "listen.tls.certificates[1].key is not the key of listen.tls.certificates[1].cert, but that of listen.tls.certificates[0].cert",
  ]);
});

Deno.test("findCertificateProblems() reads the authorities of clients", () => {
  const tls = { ...one, clientCertificates: { ca: [ca.cert, BROKEN_CERT, "/no/such/file.pem"] } };
  assertEquals(problemsOf({ listen: { port: 1, engine: "http1", tls } }), [
    "listen.tls.clientCertificates.ca[1] has a certificate that cannot be read",
    'listen.tls.clientCertificates.ca[2] names "/no/such/file.pem", which cannot be read: there is no such file',
  ]);
});

Deno.test("describeCertificates() says for which names certificates are, and until when", () => {
  const certificates = [one, { names: ["x.example", "*.y.example"], ...two }];
  const config = resolveConfig({
    listen: { port: 1, engine: "http1", tls: { certificates } },
    upstreams: { servers: ["a:443"], tls: two },
  });
  const ends = new X509Certificate(one.cert).validToDate;
  const until = `${ends.toISOString().slice(0, 16).replace("T", " ")} UTC`;
  const said = (state: string): string[] => [
    `listen.tls.certificates[0]: certificate of one.example ${state} ${until}`,
    `listen.tls.certificates[1]: certificate of x.example *.y.example ${state} ${until}`,
    `upstreams.tls: certificate of two.example ${state} ${until}`,
  ];
  const toTheMinute = (lines: string[]) => lines.map((line) => line.replace(/ \d\d:\d\d UTC$/, ""));
  assertEquals(toTheMinute(describeCertificates(config, ends.getTime() - 1)), toTheMinute(said("ends")));
  assertEquals(
    toTheMinute(describeCertificates(config, ends.getTime() + 60_000)),
    toTheMinute(said("ended")),
  );
});

Deno.test("findCertificateProblems() looks at the certificate of the admin listener too", () => {
  assertEquals(problemsOf({ admin: { tls: one } }), []);
  assertEquals(problemsOf({ admin: { tls: { cert: one.cert, key: two.key } } }), [
    "admin.tls.key is not the key of admin.tls.cert",
  ]);
  assertEquals(problemsOf({ admin: { tls: { cert: "/nowhere.pem", key: one.key } } }), [
    'admin.tls.cert names "/nowhere.pem", which cannot be read: there is no such file',
  ]);
});
