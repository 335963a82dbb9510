/** A certificate authority of the tests, in memory; X.509 by RFC 5280. */

import { concat, type Der, der, integer, oid, pem, sequence, time, utf8String } from "./der.ts";

const CURVE = { name: "ECDSA", namedCurve: "P-256" } as const;
const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const DAY_MS = 86_400_000;

/** Options of {@linkcode TestCa.issue}. */
export interface CertificateOptions {
  /** DNS names and IPv4 addresses in the certificate. */
  names: readonly string[];
  /** For a client instead of a server. @default {false} */
  client?: boolean;
  /** Expired yesterday. @default {false} */
  expired?: boolean;
}

/** A certificate and its key as PEM texts. */
export interface KeyPair {
  cert: string;
  key: string;
}

/** Subject or issuer of a certificate. */
export interface Subject {
  name: Der;
  keys: CryptoKeyPair;
}

/** Issues certificates that are valid where {@linkcode TestCa.cert} is trusted. */
export class TestCa {
  readonly #self: Subject;
  /** PEM text of the authority's certificate. */
  readonly cert: string;

  /** Use {@linkcode TestCa.create}. */
  constructor(self: Subject, cert: string) {
    this.#self = self;
    this.cert = cert;
  }

  /** Makes a new authority. */
  static async create(name = "Test authority"): Promise<TestCa> {
    const self = await makeSubject(name);
    const extensions = [
      extension("2.5.29.19", true, sequence(der(0x01, Uint8Array.of(0xff)))),
      // keyCertSign and cRLSign.
      extension("2.5.29.15", true, der(0x03, Uint8Array.of(1, 0x06))),
    ];
    return new TestCa(self, await sign(self, self, extensions, false));
  }

  /** Issues a certificate with a new key. */
  async issue(options: CertificateOptions): Promise<KeyPair> {
    const { names, client = false, expired = false } = options;
    const subject = await makeSubject(names[0] ?? "nobody");
    const extensions = [
      extension("2.5.29.19", true, sequence()),
      // digitalSignature.
      extension("2.5.29.15", true, der(0x03, Uint8Array.of(7, 0x80))),
      extension("2.5.29.37", false, sequence(oid(`1.3.6.1.5.5.7.3.${client ? 2 : 1}`))),
      extension("2.5.29.17", false, sequence(...names.map(generalName))),
    ];
    const cert = await sign(this.#self, subject, extensions, expired);
    const key = await crypto.subtle.exportKey("pkcs8", subject.keys.privateKey);
    return { cert, key: pem("PRIVATE KEY", new Uint8Array(key)) };
  }
}

let shared: Promise<TestCa> | undefined;

/** The authority shared by all tests of a process. */
export function testCa(): Promise<TestCa> {
  shared ??= TestCa.create();
  return shared;
}

async function makeSubject(commonName: string): Promise<Subject> {
  const keys = await crypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
  const name = sequence(der(0x31, sequence(oid("2.5.4.3"), utf8String(commonName))));
  return { name, keys };
}

function extension(id: string, critical: boolean, value: Der): Der {
  return sequence(oid(id), ...(critical ? [der(0x01, Uint8Array.of(0xff))] : []), der(0x04, value));
}

function generalName(name: string): Der {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(name)) return der(0x87, Uint8Array.from(name.split(".").map(Number)));
  return der(0x82, new TextEncoder().encode(name));
}

async function sign(issuer: Subject, subject: Subject, extensions: Der[], expired: boolean): Promise<string> {
  const now = Date.now();
  const content = sequence(
    der(0xa0, integer(Uint8Array.of(2))),
    integer(concat(Uint8Array.of(1), crypto.getRandomValues(new Uint8Array(8)))),
    ECDSA_SHA256,
    issuer.name,
    sequence(time(new Date(now - 3 * DAY_MS)), time(new Date(now + (expired ? -1 : 60) * DAY_MS))),
    subject.name,
    new Uint8Array(await crypto.subtle.exportKey("spki", subject.keys.publicKey)),
    der(0xa3, sequence(...extensions)),
  );
  const raw = new Uint8Array(
    await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, issuer.keys.privateKey, content),
  );
  const signature = sequence(integer(raw.subarray(0, 32)), integer(raw.subarray(32)));
  return pem("CERTIFICATE", sequence(content, ECDSA_SHA256, der(0x03, Uint8Array.of(0), signature)));
}
