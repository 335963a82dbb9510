/** The certificate of a listener, as PEM text or in files. */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { resourceShortage } from "../core/resource_shortage.ts";

/** Certificate and key as PEM texts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Certificate and key as an array, for comparing. */
export function textsOf({ cert, key }: Certificate): readonly [cert: string, key: string] {
  return [cert, key];
}

/** The inverse of {@linkcode textsOf}. */
export function certificateFrom([cert = "", key = ""]: readonly string[]): Certificate {
  return { cert, key };
}

/** Whether certificate or key is in a file, which may change. */
export function isInFiles({ cert, key }: Certificate): boolean {
  return isPath(cert) || isPath(key);
}

/**
 * Reads certificate and key.
 *
 * @throws {Error} when a file cannot be read, with its path and the reason
 */
export function readCertificate({ cert, key }: Certificate): Certificate {
  return { cert: readPem(cert, "certificate"), key: readPem(key, "key") };
}

/**
 * Checks that a listener can use the pair. The runtime's `node:tls` accepts a key of another certificate, and then
 * every handshake fails; its `Deno.listenTls` refuses it. So a listener is opened for a moment on a free port of
 * loopback. A process without the permission to listen there skips this check: it should not need a permission only
 * for it.
 *
 * @returns the certificate, without its chain
 * @throws {Error} when they are not a certificate and its key
 */
export function tryCertificate({ cert, key }: Certificate): X509Certificate {
  const certificate = checkPair({ cert, key });
  try {
    Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  return certificate;
}

/**
 * Checks that certificate and key belong together.
 *
 * @returns the certificate, without its chain
 * @throws {Error} when they do not, or are invalid
 */
export function checkPair({ cert, key }: Certificate): X509Certificate {
  const certificate = withSubject("the certificate", () => certificatesOf(cert)[0]!);
  const privateKey = withSubject("the key", () => privateKeyOf(key));
  if (!certificate.checkPrivateKey(privateKey)) throw new Error("the key is that of another certificate");
  return certificate;
}

function withSubject<Value>(subject: string, make: () => Value): Value {
  try {
    return make();
  } catch (error) {
    throw new Error(`${subject} ${(error as Error).message}`, { cause: error });
  }
}

/**
 * The certificates in a text, all of which must be valid.
 *
 * @throws {Error} when one is invalid, or there is none; the message continues a sentence about the text
 */
export function certificatesOf(text: string): X509Certificate[] {
  const found = text.match(
    /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g,
  );
  if (found === null) throw new Error(`has no certificate${kindOf(text)}`);
  return found.map((each, index) => {
    try {
      return new X509Certificate(each);
    } catch {
      const which = found.length === 1 ? "a certificate" : `a certificate (number ${index + 1})`;
      throw new Error(`has ${which} that cannot be read`);
    }
  });
}

/**
 * The private key in a text.
 *
 * @throws {Error} when there is no usable key; the message continues a sentence about the text
 */
export function privateKeyOf(text: string): KeyObject {
  if (!/-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/.test(text)) {
    throw new Error(`has no private key${kindOf(text)}`);
  }
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: .*ENCRYPTED/m.test(text)) {
    throw new Error("has an encrypted private key, and no password can be given: decrypt the key");
  }
  try {
    return createPrivateKey(text);
  } catch {
    throw new Error("has a private key that cannot be read");
  }
}

/** The kind of PEM text that was found instead. */
function kindOf(text: string): string {
  const kind = /-----BEGIN ([A-Z ]+)-----/.exec(text)?.[1];
  return kind === undefined ? "" : `, but a ${kind.toLowerCase()}`;
}

/** The DNS names of a certificate, in lower case; its subject is not one of them (RFC 9525 section 6.3). */
export function dnsNames({ subjectAltName }: X509Certificate): string[] {
  return Array.from(
    (subjectAltName ?? "").matchAll(/(?:^|, )DNS:([^,\s]+)/g),
    ([, name]) => name!.toLowerCase(),
  );
}

/** Whether a text is the path of a file, and not PEM. */
export function isPath(text: string): boolean {
  return !text.includes("-----BEGIN");
}

/**
 * A PEM text, or the content of the file that it names.
 *
 * @throws {Error} when the file cannot be read, with its path and the reason
 */
export function readPem(text: string, what: string): string {
  if (!isPath(text)) return text;
  try {
    return readPemFile(text);
  } catch (error) {
    throw new Error(`cannot read the ${what} ${JSON.stringify(text)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Reads a file.
 *
 * @throws {Error} when it cannot be read, with the reason
 */
export function readPemFile(path: string): string {
  // The runtime would prompt at the terminal, and the proxy would stop until the prompt is answered.
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
    throw new Error("run with --allow-read");
  }
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    throw new Error(reasonOf(cause), { cause });
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied by the system";
  if (error instanceof Deno.errors.NotCapable) return "run with --allow-read";
  return error instanceof Error ? error.message : String(error);
}

// Detects changes of the files of a certificate.

/** Interval of reading the files. */
const CHECK_EVERY_MS = 1000;

/** Options of a {@linkcode CertificateWatch}. */
interface CertificateWatchOptions {
  /** Reads the files; throws the reason why they cannot be used. */
  readonly read: () => readonly string[];
  /** The texts in use. */
  readonly current: readonly string[];
  readonly clock: Clock;
  /** Interval of reading the files. @default {a second} */
  readonly everyMs?: number;
  /** Called with new texts; the next check starts after it. Throws the reason why they cannot be used. */
  readonly onChange: (texts: readonly string[]) => void | Promise<void>;
  /** Called with the reason why changed files cannot be used; once for each reason. */
  readonly onProblem: (problem: string) => void;
}

/**
 * Reads the files once a second and compares them.
 *
 * The runtime can watch files, but tools that renew certificates swap symbolic links and whole folders, which a watch
 * on a file does not notice. Certificate and key are two files: between the two writes they do not match, so a
 * problem is reported only when it was found twice.
 */
export class CertificateWatch implements Disposable {
  readonly #options: CertificateWatchOptions;
  #current: readonly string[];
  /** The unusable texts of the previous check. */
  #seen: readonly string[] | null = null;
  #problem = "";
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#current = options.current;
    this.#checkLater();
  }

  #checkLater(): void {
    if (this.#disposed) return;
    this.#timer = this.#options.clock.setTimer(() => {
      this.#check().finally(() => this.#checkLater());
    }, this.#options.everyMs ?? CHECK_EVERY_MS);
  }

  async #check(): Promise<void> {
    let found: readonly string[] | null = null;
    try {
      found = this.#options.read();
      if (isSame(found, this.#current)) return void (this.#problem = "");
      await this.#options.onChange(found);
      this.#current = found;
      this.#seen = null;
      this.#problem = "";
    } catch (error) {
      // A shortage of resources is no problem of the files.
      if (resourceShortage(error) !== null) return;
      const problem = error instanceof Error ? error.message : String(error);
      const before = this.#seen;
      this.#seen = found;
      // One of the two files may not be written yet.
      if (found !== null && (before === null || !isSame(found, before))) return;
      if (problem === this.#problem || this.#disposed) return;
      this.#problem = problem;
      this.#options.onProblem(problem);
    }
  }

  /** Stops the checks. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
  }
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.every((text, index) => text === other[index]);
}
