import { assertEquals, assertThrows } from "@std/assert";
import type { TLSSocket } from "node:tls";
import {
  type ChainLink,
  ClientCertificates,
  findChainProblem,
  readLink,
} from "../../../../lib/engine/tls/client_certificates.ts";
import { readCertificateContent } from "../../../../lib/engine/tls/read_certificate.ts";
import { certificatesOf } from "../../../../lib/engine/certificate.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { AUTHORITY, CLIENT, type Issued, OpenSsl } from "../../../support/openssl.ts";

const NOW = Date.UTC(2026, 0, 1);

async function link({ cert }: Issued): Promise<ChainLink> {
  return readLink(new Uint8Array(certificatesOf(await Deno.readTextFile(cert))[0]!.raw));
}

Deno.test("findChainProblem() looks at what authorities may do", async () => {
  await using ssl = await OpenSsl.create();
  const root = await ssl.issue("/CN=Root", { extensions: AUTHORITY });
  const between = (name: string, extensions: string, by = root, dates = {}) =>
    ssl.issue(`/CN=${name}`, { by, extensions, ...dates });
  const leaf = (by: Issued) => ssl.issue("/CN=leaf", { by, extensions: CLIENT });
  const trusted = [await link(root)];
  const table: [what: string, extensions: string, good: boolean][] = [
    ["an authority", AUTHORITY, true],
    ["a path of any length", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=keyCertSign", true],
    ["no constraints at all", "keyUsage=keyCertSign", false],
    ["no authority", "basicConstraints=critical,CA:FALSE\nkeyUsage=keyCertSign", false],
    ["a key for something else", "basicConstraints=critical,CA:TRUE\nkeyUsage=digitalSignature", false],
    ["a key for anything", "basicConstraints=critical,CA:TRUE", true],
    ["servers alone", `${AUTHORITY}\nextendedKeyUsage=serverAuth`, false],
    ["any purpose", `${AUTHORITY}\nextendedKeyUsage=anyExtendedKeyUsage`, true],
    ["names that are limited", `${AUTHORITY}\nnameConstraints=critical,permitted;DNS:example.org`, false],
    ["something that nobody knows", `${AUTHORITY}\n1.2.3.4=critical,DER:0500`, false],
    ["something that need not be known", `${AUTHORITY}\n1.2.3.4=DER:0500`, true],
  ];
  for (const [what, extensions, good] of table) {
    const one = await between("Between", extensions);
    const chain = [await link(await leaf(one)), await link(one)];
    assertEquals(findChainProblem(chain, trusted, NOW) === null, good, what);
  }
  const short = await between("Short", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=keyCertSign");
  const long = await between("Long", AUTHORITY, short);
  assertEquals(
    findChainProblem([await link(await leaf(long)), await link(long), await link(short)], trusted, NOW),
    "no authority that is trusted has issued the certificate, but CN=Short",
  );
  const ended = await between("Ended", AUTHORITY, root, { to: "20250101000000Z" });
  const chain = [await link(await leaf(ended)), await link(ended)];
  assertEquals(
    findChainProblem(chain, trusted, NOW),
    "no authority that is trusted has issued the certificate, but CN=Ended",
  );
  assertEquals(findChainProblem(chain, trusted, Date.UTC(2024, 5, 1)), null);
  // Intermediates in any order, and others among them.
  const two = await between("Two", AUTHORITY, await between("Three", AUTHORITY));
  assertEquals(
    findChainProblem([await link(await leaf(two)), await link(short), await link(two)], trusted, NOW) ===
      null,
    false,
  );
  assertEquals(findChainProblem([], trusted, NOW), "there is no certificate");
});

Deno.test("findChainProblem() goes through six authorities between a client and one that is trusted", async () => {
  await using ssl = await OpenSsl.create();
  const trusted = await ssl.issue("/CN=Root", { extensions: AUTHORITY });
  let last = trusted;
  let between: ChainLink[] = [];
  const problems: (string | null)[] = [];
  for (let n = 1; n <= 7; n++) {
    last = await ssl.issue(`/CN=Between ${n}`, { by: last, extensions: AUTHORITY });
    between = [await link(last), ...between];
    if (n < 6) continue;
    const leaf = await ssl.issue("/CN=leaf", { by: last, extensions: CLIENT });
    problems.push(findChainProblem([await link(leaf), ...between], [await link(trusted)], NOW));
  }
  assertEquals(problems, [
    null,
    "more than 6 authorities stand between the certificate and one that is trusted",
  ]);
});

Deno.test("ClientCertificates.judge() reads ten certificates of a client at most", async () => {
  await using ssl = await OpenSsl.create();
  const { raw } = await link(await ssl.issue("/CN=leaf", { extensions: CLIENT })).then((
    { certificate },
  ) => certificate);
  let read = 0;
  interface Sent {
    raw: Uint8Array;
    issuerCertificate?: Sent;
  }
  // A chain without end, as a client may send one that leads back to its beginning.
  const sent: Sent = {
    get raw() {
      read++;
      return raw;
    },
    get issuerCertificate() {
      return Object.create(sent) as Sent;
    },
  };
  const options = { ca: [], mode: "request" as const, verify: null };
  const clients = new ClientCertificates({ options, clock: new FakeClock(), onVerifyError() {} }, []);
  const verdict = await clients.judge({ getPeerCertificate: () => sent } as unknown as TLSSocket);
  assertEquals([verdict.refusal, verdict.certificate?.subject], [null, "CN=leaf"]);
  // Each is looked at once to see whether there is one, and once more to keep it.
  assertEquals(read, 2 * 10 + 1);
});

Deno.test("readCertificateContent() writes names so that they can be read in one way", async () => {
  await using ssl = await OpenSsl.create();
  const { content } = await link(await ssl.issue("/O=A, Inc.+OU=x/CN= a\\,CN=root#", { extensions: CLIENT }));
  assertEquals(content.subject.includes(",CN=root"), false);
  assertEquals(content.subjectId, content.issuerId);
  assertEquals(content.notBefore, Date.UTC(2024, 0, 1));
  assertEquals(content.notAfter, Date.UTC(2049, 11, 31, 23, 59, 59));
});

Deno.test("readCertificateContent() reads or refuses whatever it is given, and never more than there is", async () => {
  await using ssl = await OpenSsl.create();
  const { certificate } = await link(
    await ssl.issue("/CN=a/O=b", { extensions: `${AUTHORITY}\n${CLIENT}\nsubjectAltName=DNS:a,IP:::1` }),
  );
  const der = new Uint8Array(certificate.raw);
  for (let end = 0; end < der.length; end++) {
    assertThrows(() => readCertificateContent(der.subarray(0, end)), Error, "The certificate");
  }
  assertThrows(() => readCertificateContent(new Uint8Array([...der, 0])), Error, "something behind it");
  for (let at = 0; at < der.length; at++) {
    for (const bit of [1, 0x80, 0xff]) {
      const changed = der.slice();
      changed[at]! ^= bit;
      try {
        readCertificateContent(changed);
      } catch (error) {
        assertEquals((error as Error).message.startsWith("The certificate"), true, String(error));
      }
    }
  }
});
