import { assertEquals } from "@std/assert";
import { anchorPaths, loadConfig } from "../../../lib/config/load_config.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";

const CASES:
  readonly (readonly [what: string, before: Record<string, unknown>, after: Record<string, unknown>])[] = [
    ["nothing to anchor", { upstreams: ["a:80"], listen: 80 }, { upstreams: ["a:80"], listen: 80 }],
    [
      "a certificate and its key",
      { listen: { port: 443, tls: { cert: "cert.pem", key: "../key.pem" } } },
      { listen: { port: 443, tls: { cert: "/etc/lbproxy/cert.pem", key: "/etc/key.pem" } } },
    ],
    [
      "absolute paths and PEM texts",
      { listen: [80, { tls: { cert: PEM, key: "/etc/key.pem" } }] },
      { listen: [80, { tls: { cert: PEM, key: "/etc/key.pem" } }] },
    ],
    [
      "certificates by name, and authorities of clients",
      {
        listen: {
          tls: {
            certificates: [{ names: ["a.example"], cert: "a.pem", key: "a.key" }],
            clientCertificates: { ca: ["ca.pem", PEM] },
          },
        },
      },
      {
        listen: {
          tls: {
            certificates: [{ names: ["a.example"], cert: "/etc/lbproxy/a.pem", key: "/etc/lbproxy/a.key" }],
            clientCertificates: { ca: ["/etc/lbproxy/ca.pem", PEM] },
          },
        },
      },
    ],
    [
      "the access log",
      { accessLog: { to: { file: "access.log", keep: 2 } } },
      { accessLog: { to: { file: "/etc/lbproxy/access.log", keep: 2 } } },
    ],
    ["an access log on stdout, or none", { accessLog: { to: "stdout" } }, { accessLog: { to: "stdout" } }],
    ["no access log", { accessLog: false, admin: true }, { accessLog: false, admin: true }],
    [
      "the certificate of the admin listener",
      { admin: { tls: { cert: "cert.pem", key: PEM } } },
      { admin: { tls: { cert: "/etc/lbproxy/cert.pem", key: PEM } } },
    ],
    [
      "tokens",
      { admin: { tokens: { ops: { file: "token" }, ci: { env: "TOKEN" }, me: "sixteen-characters" } } },
      {
        admin: {
          tokens: { ops: { file: "/etc/lbproxy/token" }, ci: { env: "TOKEN" }, me: "sixteen-characters" },
        },
      },
    ],
  ];

for (const [what, before, after] of CASES) {
  Deno.test(`anchorPaths(): ${what}`, () => {
    const given = structuredClone(before);
    assertEquals(anchorPaths(given, "/etc/lbproxy"), after);
    assertEquals(given, before);
  });
}

Deno.test("loadConfig() takes paths from the folder of the file, not from where the program is started", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config = `export const upstreams = ["a:80"];
      export const listen = { port: 443, tls: { cert: "cert.pem", key: "key.pem" } };`;
    await Deno.writeTextFile(`${folder}/proxy.config.ts`, config);
    const { config: { listen: [place] } } = await loadConfig(`${folder}/proxy.config.ts`);
    const [pair] = place!.tls!.certificates;
    assertEquals([pair?.cert, pair?.key], [`${folder}/cert.pem`, `${folder}/key.pem`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
